"""The audit log: it goes on where it ended, and shows what was changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from harebell.administration import audit
from harebell.administration.audit import FILE_NAME, AuditLog, broken


def begin(folder: Path | None) -> AuditLog:
    times = count(1000)
    return AuditLog(folder, lambda: next(times))


def note(log: AuditLog, *names: str, user: str = "ann", action: str = "queue.purged") -> None:
    for name in names:
        log.record(user, "127.0.0.1", action, "/", name, {"messages": 7})


def test_the_latest_record_comes_first(tmp_path: Path) -> None:
    log = begin(tmp_path)
    note(log, "a", "b")
    assert [record["object"] for record in log.latest()] == ["b", "a"]
    assert [record["object"] for record in log.latest(1)] == ["b"]
    log.close()


def test_records_are_found_by_user_action_and_time() -> None:
    log = begin(None)
    note(log, "a")
    note(log, "b", user="bob")
    note(log, "c", action="user.created")
    assert [record["object"] for record in log.latest(user="bob")] == ["b"]
    assert [record["object"] for record in log.latest(action="user.")] == ["c"]
    assert [record["object"] for record in log.latest(since=1001)] == ["c", "b"]


def test_it_goes_on_after_a_restart(tmp_path: Path) -> None:
    for name in ("a", "b"):
        log = begin(tmp_path)
        note(log, name)
        log.close()
    log = begin(tmp_path)
    assert [(record["number"], record["object"]) for record in log.latest()] == [(2, "b"), (1, "a")]
    log.close()
    assert broken(tmp_path / FILE_NAME) == []
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_a_record_cut_by_a_crash_is_taken_off(tmp_path: Path) -> None:
    log = begin(tmp_path)
    note(log, "a", "b")
    log.close()
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes()[:-5])
    log = begin(tmp_path)
    note(log, "c")
    log.close()
    assert broken(path) == []
    assert [json.loads(line)["object"] for line in path.read_text().splitlines()] == ["a", "c"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda lines: [lines[0].replace('"a"', '"z"'), *lines[1:]], ["record 1 was changed"]),
        (lambda lines: [lines[0], lines[2]], ["record 3 does not follow record 1"]),
        (lambda lines: [lines[1], lines[0], lines[2]], ["record 1 does not follow record 2"]),
    ],
)
def test_what_was_changed_or_left_out_shows(
    tmp_path: Path, change: Callable[[list[str]], list[str]], says: list[str]
) -> None:
    log = begin(tmp_path)
    note(log, "a", "b", "c")
    log.close()
    path = tmp_path / FILE_NAME
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
    assert broken(path)[: len(says)] == says


def test_a_full_file_is_put_aside_and_the_chain_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "FULL", 1500)
    monkeypatch.setattr(audit, "KEPT_FILES", 2)
    log = begin(tmp_path)
    note(log, *(str(number) for number in range(40)))
    log.close()
    files = sorted(tmp_path.glob("audit-*.jsonl"))
    assert len(files) == 2
    assert all(broken(file) == [] for file in [*files, tmp_path / FILE_NAME])
    log = begin(tmp_path)
    note(log, "last")
    assert log.latest()[0]["number"] == 41
    log.close()


def test_texts_of_peers_are_bounded() -> None:
    log = begin(None)
    log.record("u" * 5000, "", "queue.purged", name="n" * 5000, detail={"d": ["x" * 5000]})
    record = log.latest()[0]
    assert len(json.dumps(record)) < 4500


def test_a_full_disk_is_told_once_and_the_log_goes_on_in_memory(tmp_path: Path) -> None:
    told: list[OSError] = []
    log = AuditLog(tmp_path, lambda: 0, told.append)
    file = log._file
    assert file is not None
    file.close()
    log._file = open("/dev/full", "a")  # noqa: SIM115 - the log closes it
    note(log, "a", "b")
    assert len(told) == 1
    assert len(log.latest()) == 2
