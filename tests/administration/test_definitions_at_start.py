"""Definitions imported at every start: which files, in which order, and what keeps a node from starting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harebell.administration.administration import Administration
from harebell.administration.definitions import exported
from harebell.administration.definitions_at_start import DefinitionsError, brings_users, import_at_start
from harebell.administration.parameters import DEFINITIONS_HASH, list_global_parameters
from harebell.engine.topology import Caller, delete_queue
from harebell.ports import User
from harebell.settings import ConfigFiles, Settings, load
from harebell.settings.tree import Management
from tests.support.administration import administration_of
from tests.support.node import Node


class Heard:
    """A log that is read afterwards."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def info(self, event: str) -> None:
        """Keep it."""
        self.said.append(event)

    def warning(self, event: str) -> None:
        """Keep it."""
        self.said.append("warning: " + event)


def admin_with(place: Path | None, skip_unchanged: bool = False, node: Node | None = None) -> Administration:
    management = Management(load_definitions=place, skip_unchanged_definitions=skip_unchanged)
    return administration_of(node or Node(), Settings(management=management))


def write(path: Path, *queues: str, **more: Any) -> Path:
    rows = [{"name": name, "vhost": "/", "colour": "blue"} for name in queues]
    path.write_text(json.dumps({"queues": rows, **more}))
    return path


def test_without_definitions_nothing_happens() -> None:
    admin, log = admin_with(None), Heard()
    import_at_start(admin, log)
    assert log.said == []


def test_a_file_is_imported_and_the_log_says_what_was_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path / "d.json", "q", users=[{"name": "u", "password": "p", "tags": "administrator"}])
    admin, log = admin_with(path), Heard()
    import_at_start(admin, log)
    assert "q" in admin.broker.vhosts["/"].queues
    password = admin.directory.users["u"].password
    assert password is not None and password.verify(b"p")
    assert log.said == [
        f"importing definitions from {path}",
        f"warning: definitions in {path}: "
        'queues[0] has <<"colour">>, which is not known here and passed over',
        f"imported definitions from {path}: 2 differences",
    ]


def test_a_folder_is_read_file_by_file_in_the_order_of_names(tmp_path: Path) -> None:
    write(tmp_path / "2.json", vhosts=[{"name": "v", "description": "second"}])
    write(tmp_path / "1.json", vhosts=[{"name": "v", "description": "first"}])
    (tmp_path / "readme.txt").write_text("not definitions")
    admin = admin_with(tmp_path)
    import_at_start(admin, Heard())
    assert admin.broker.vhosts["v"].metadata["description"] == "second"


def test_what_is_not_known_here_keeps_a_node_from_starting_unless_the_settings_say_so(tmp_path: Path) -> None:
    path = write(tmp_path / "d.json", "q", exchanges=[{"name": "e", "vhost": "/", "type": "x-lvc"}])
    with pytest.raises(DefinitionsError, match="management.skip_unknown_definitions"):
        import_at_start(admin_with(path), Heard())
    management = Management(load_definitions=path, skip_unknown_definitions=True)
    admin, log = administration_of(Node(), Settings(management=management)), Heard()
    import_at_start(admin, log)
    assert "q" in admin.broker.vhosts["/"].queues
    assert any("exchange 'e'" in line and "x-lvc" in line for line in log.said if "warning" in line)


def test_unchanged_definitions_can_be_passed_over(tmp_path: Path) -> None:
    node = Node()
    path = write(tmp_path / "d.json", "q")
    admin = admin_with(path, skip_unchanged=True, node=node)
    import_at_start(admin, Heard())
    assert [row["name"] for row in list_global_parameters(admin)] == [DEFINITIONS_HASH]
    assert exported(admin).document()["global_parameters"] == []
    vhost = admin.broker.vhosts["/"]
    delete_queue(Caller(admin.broker, vhost, User("guest", frozenset()), 0), "q", False, False)
    log = Heard()
    import_at_start(admin, log)
    assert log.said == [f"definitions in {path} have not changed since they were imported: passed over"]
    assert "q" not in vhost.queues
    write(path, "q", "r")
    import_at_start(admin, Heard())
    assert {"q", "r"} <= set(vhost.queues)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "cannot be read: No such file or directory"),
        ("{", "are no JSON"),
        ('{"queues": [{"name": "q"}]}', "cannot be imported: queues[0]"),
    ],
)
def test_what_cannot_be_imported_keeps_the_node_from_starting(
    tmp_path: Path, content: str | None, text: str
) -> None:
    path = tmp_path / "d.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DefinitionsError) as refused:
        import_at_start(admin_with(path), Heard())
    assert str(path) in str(refused.value)
    assert text in str(refused.value)
    assert refused.value.exit_code == 78


@pytest.mark.parametrize(
    "lines",
    [
        "load_definitions = /d.json",
        "management.load_definitions = /d.json",
        "definitions.import_backend = local_filesystem\ndefinitions.local.path = /d.json",
    ],
)
def test_rabbitmq_conf_names_the_file(tmp_path: Path, lines: str) -> None:
    path = tmp_path / "rabbitmq.conf"
    path.write_text(lines + "\ndefinitions.skip_if_unchanged = true\n")
    loaded = load(environ={}, files=ConfigFiles(rabbitmq=(path,)))
    assert loaded.settings.management.load_definitions == Path("/d.json")
    assert loaded.settings.management.skip_unchanged_definitions is True
    assert not loaded.notices


def test_another_source_of_definitions_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "rabbitmq.conf"
    path.write_text("definitions.import_backend = https\n")
    loaded = load(environ={}, files=ConfigFiles(rabbitmq=(path,)))
    assert [notice.level for notice in loaded.notices] == ["warning"]


@pytest.mark.parametrize(
    "arguments",
    [
        '-rabbitmq_management load_definitions "/d.json"',
        '-rabbit log_levels [{connection,error}] -rabbitmq_management load_definitions \\"/d.json\\"',
        "-rabbit load_definitions /d.json",
    ],
)
def test_arguments_for_erlang_name_the_file_as_compose_files_do(arguments: str) -> None:
    environ = {"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": arguments}
    loaded = load(environ=environ, files=ConfigFiles())
    assert loaded.settings.management.load_definitions == Path("/d.json")


def test_other_arguments_for_erlang_have_no_effect() -> None:
    environ = {"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_listen_min 1"}
    loaded = load(environ=environ, files=ConfigFiles())
    assert loaded.settings.management.load_definitions is None
    assert "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS" in loaded.notices[0].text


def test_definitions_with_users_say_so_beforehand(tmp_path: Path) -> None:
    assert not brings_users(Settings())
    path = write(tmp_path / "1.json", "q")
    assert not brings_users(Settings(management=Management(load_definitions=tmp_path)))
    write(tmp_path / "2.json", users=[{"name": "u", "tags": ""}])
    assert brings_users(Settings(management=Management(load_definitions=tmp_path)))
    path.write_text("{")
    with pytest.raises(DefinitionsError):
        brings_users(Settings(management=Management(load_definitions=tmp_path)))
