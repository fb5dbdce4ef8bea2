"""``harebell definitions``: out of a broker or its data directory, in again, and what would change."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from harebell.cli.api import Api
from harebell.cli.definitions import PART, _parts, changes, count
from tests.cli.conftest import Cli
from tests.server.process import running_broker


def test_what_is_exported_can_be_imported_elsewhere(cli: Cli, vhost: str, tmp_path: Path, api: Api) -> None:
    cli.ok("queues", "declare", "q", "-p", vhost, "-a", "x-max-length=3")
    cli.ok("bindings", "declare", "amq.topic", "q", "k.#", "-p", vhost)
    file = tmp_path / "definitions.json"
    assert cli.ok("definitions", "export", str(file), "-p", vhost).out.startswith("exported ")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600, "there are hashes of passwords in it"
    cli.ok("vhosts", "add", "copy")
    cli.ok("definitions", "import", str(file), "-p", "copy")
    assert api.get("queues", "copy", "q")["arguments"]["x-max-length"] == 3
    assert cli.ok("definitions", "diff", str(file), "-p", "copy").out == "no difference\n"
    cli.ok("vhosts", "delete", "copy")


def test_definitions_travel_over_the_standard_streams(cli: Cli) -> None:
    text = cli.ok("definitions", "export").out
    assert any(one["name"] == "guest" for one in json.loads(text)["users"])
    assert cli.ok("definitions", "import", stdin=text).out.startswith("imported ")
    assert cli.ok("definitions", "import", "--skip-if-unchanged", stdin=text).out == "nothing to import\n"


def test_what_is_not_known_here_is_left_out_on_request_and_named(cli: Cli, vhost: str, api: Api) -> None:
    rows = [{"name": "e", "type": "x-lvc"}, {"name": "f", "type": "fanout"}]
    text = json.dumps({"exchanges": [{**row, "vhost": vhost} for row in rows]})
    refused = cli("definitions", "import", stdin=text)
    assert refused.code != 0
    assert "unknown exchange type 'x-lvc'" in refused.err
    assert "--skip-unknown" in refused.err, "the refusal should tell the way out"
    ended = cli.ok("definitions", "import", "--skip-unknown", stdin=text)
    assert f"exchange 'e' in virtual host '{vhost}' is left out: exchange type 'x-lvc' not known" in ended.err
    assert api.get("exchanges", vhost, "f")["type"] == "fanout"


def test_a_difference_is_shown_with_exit_code_1_and_no_secrets(cli: Cli, vhost: str) -> None:
    now = json.loads(cli.ok("definitions", "export").out)
    then = {
        "users": [{"name": "guest", "password_hash": "AAAA", "tags": ["administrator"]}],
        "vhosts": [*now["vhosts"], {"name": "new"}],
        "permissions": [{"vhost": vhost, "user": "guest", "configure": "", "write": ".*", "read": ".*"}],
    }
    ended = cli("definitions", "diff", stdin=json.dumps(then))
    assert ended.code == 1
    assert "+ vhosts new" in ended.lines
    assert f'~ permissions {vhost} guest: configure ".*" -> ""' in ended.lines
    assert any(line.startswith("~ users guest") and "AAAA" not in line for line in ended.lines)
    assert any(line.startswith("- permissions / guest") for line in ended.lines)


def test_large_imports_go_in_parts_with_whoever_is_named_by_others_first() -> None:
    whole = {
        "rabbit_version": "3.13.7",
        "bindings": [{}] * (3 * PART),
        "queues": [{"name": str(number)} for number in range(3 * PART)],
        "vhosts": [{"name": "v"}],
    }
    parts = list(_parts(whole))
    assert sum(map(count, parts)) == 6 * PART + 1
    assert "vhosts" in parts[0] and "bindings" in parts[-1]
    assert all(part["rabbit_version"] == "3.13.7" and count(part) <= PART for part in parts)
    assert list(_parts({"queues": [{}]})) == [{"queues": [{}]}]


def test_tags_as_a_list_and_as_a_text_are_the_same() -> None:
    one = {
        "users": [{"name": "u", "tags": ["a", "b"]}, {"name": "v", "tags": ["a"]}, {"name": "w", "tags": []}]
    }
    two = {"users": [{"name": "u", "tags": "b,a"}, {"name": "v", "tags": "a"}, {"name": "w", "tags": ""}]}
    assert list(changes(one, two)) == []


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [("{", 65, "is no JSON"), ("[]", 65, "holds no definitions"), ('{"users": 1}', 65, "users is no list")],
)
def test_what_are_no_definitions_is_told(cli: Cli, text: str, code: int, says: str) -> None:
    ended = cli("definitions", "import", stdin=text)
    assert ended.code == code and says in ended.err


def test_a_file_that_is_not_there_is_told(cli: Cli, tmp_path: Path) -> None:
    assert cli("definitions", "import", str(tmp_path / "absent")).code == 64
    assert cli("definitions", "export", str(tmp_path / "absent/file")).code == 73


def test_definitions_are_read_off_the_data_directory_of_a_stopped_broker(cli: Cli, tmp_path: Path) -> None:
    settings = {"MANAGEMENT__ENABLED": "on", "MANAGEMENT__PORT": "0"}
    data = tmp_path / "data"
    with running_broker(tmp_path, settings=settings, data_dir=data) as broker:
        at = ("--url", f"http://guest:guest@127.0.0.1:{broker.ports['http']}")
        cli.ok("queues", "declare", "kept", *at, "--type", "stream")
        cli.ok("queues", "declare", "gone", *at)
        cli.ok("publish", "", "kept", "x", *at)
        cli.ok("queues", "delete", "gone", *at)
        cli.ok("users", "add", "ann", "pw", *at)
        cli.ok("policies", "set", "p", "^k", '{"max-length-bytes": 1000}', *at)
        running = json.loads(cli.ok("definitions", "export", *at).out)
        cli.ok("stop", *at)
        assert broker.wait() == 0
    before = sorted((path, path.stat().st_mtime_ns) for path in data.rglob("*"))
    stopped = json.loads(cli.ok("definitions", "export", "--data-dir", str(data)).out)
    assert sorted((path, path.stat().st_mtime_ns) for path in data.rglob("*")) == before, "nothing is touched"
    for section in ("users", "vhosts", "permissions", "policies", "queues", "exchanges", "bindings"):
        assert stopped[section] == running[section], section
    assert cli("definitions", "export", "--data-dir", str(tmp_path)).code == 78
    assert cli("definitions", "export", "--data-dir", str(data), "-p", "absent").code == 65
