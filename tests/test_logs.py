"""Log lines: RabbitMQ's shape, JSON for machines, and nothing a peer can do to them."""

import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from harebell import logs

TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}\+00:00"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """A stream for the lines; the loggers of the process are put back afterwards."""
    root, ours = logging.getLogger(), logging.getLogger(logs.ROOT)
    before = (root.handlers[:], root.level, ours.level, logging.raiseExceptions)
    yield io.StringIO()
    logging.captureWarnings(False)
    root.handlers[:], root.level, ours.level, logging.raiseExceptions = before
    root.setLevel(before[1])
    ours.setLevel(before[2])


def test_a_line_has_the_shape_of_rabbitmq(stream: io.StringIO) -> None:
    logs.set_up("info", "text", stream)
    log = logs.get_logger("connection").bind(conn="c7")
    log.info("accepting AMQP connection 127.0.0.1:57604 -> 127.0.0.1:5672")
    expected = rf"{TIME} \[info\] <c7> accepting AMQP connection 127\.0\.0\.1:57604 -> 127\.0\.0\.1:5672\n"
    assert re.fullmatch(expected, stream.getvalue())


def test_a_line_about_no_connection_is_the_nodes(stream: io.StringIO) -> None:
    logs.set_up("info", "text", stream)
    logs.get_logger("node").warning("short of memory")
    assert re.fullmatch(rf"{TIME} \[warning\] <node> short of memory\n", stream.getvalue())


def test_json_has_the_keys_of_rabbitmq_and_the_bound_values(stream: io.StringIO) -> None:
    logs.set_up("info", "json", stream)
    logs.get_logger("connection", conn="c7").info("closing", vhost="/", unacked=3, queue=b"q")
    document = json.loads(stream.getvalue())
    assert re.fullmatch(TIME, document.pop("time"))
    assert document == {
        "level": "info",
        "msg": "closing",
        "pid": "<c7>",
        "domain": "rabbitmq.connection",
        "conn": "c7",
        "vhost": "/",
        "unacked": 3,
        "queue": "b'q'",
    }


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(
    "evil",
    [
        "x\n2026-11-23 02:26:13.123456+00:00 [info] <c1> user 'admin' authenticated",
        "x\r\x1b[2J\x1b]0;title\x07",
        "x\x9b31m\x85",
        "x\u2028\u202egnp.exe",
        "x\ud800",
        "x\x00",
    ],
)
def test_text_from_a_peer_stays_on_its_line_and_drives_no_terminal(
    stream: io.StringIO, form: str, evil: str
) -> None:
    logs.set_up("info", "json" if form == "json" else "text", stream)
    logs.get_logger("connection", conn=evil).info(f"name {evil}", vhost=evil)
    line = stream.getvalue()
    assert line.endswith("\n")
    body = line[:-1]
    assert all(character.isprintable() for character in body), f"escape this: {body!r}"
    if form == "json":
        assert json.loads(body)["vhost"] == evil, "what is escaped must come back as it was"


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_long_text_is_cut(stream: io.StringIO, form: str) -> None:
    logs.set_up("info", "json" if form == "json" else "text", stream)
    logs.get_logger("connection").info("x" * 1_000_000, vhost="y" * 1_000_000)
    assert len(stream.getvalue()) < 3 * logs.MAX_TEXT
    assert "more)" in stream.getvalue()


def test_secrets_are_hidden_whoever_binds_them(stream: io.StringIO) -> None:
    logs.set_up("info", "json", stream)
    logs.get_logger("connection").info("login", password="hunter2", Token="hunter2", response="hunter2")
    assert "hunter2" not in stream.getvalue()


def test_the_level_changes_while_loggers_are_in_use(stream: io.StringIO) -> None:
    logs.set_up("info", "text", stream)
    log = logs.get_logger("queue").bind(conn="c1")
    log.debug("one")
    logs.set_level("debug")
    log.debug("two")
    logs.set_level("error")
    log.warning("three")
    log.error("four")
    assert [line.split("> ")[1] for line in stream.getvalue().splitlines()] == ["two", "four"]


def test_lines_of_other_libraries_take_the_same_form(stream: io.StringIO) -> None:
    logs.set_up("debug", "text", stream)
    logging.getLogger("asyncio").warning("slow callback %d ms\n", 5)
    logging.getLogger("asyncio").debug("left out: only our own domains become more talkative")
    assert re.fullmatch(rf"{TIME} \[warning\] <node> slow callback 5 ms\\n\n", stream.getvalue())


def test_the_domain_of_another_library_is_its_own_name(stream: io.StringIO) -> None:
    logs.set_up("info", "json", stream)
    logging.getLogger("harebellicose.part").warning("not ours")
    assert json.loads(stream.getvalue())["domain"] == "harebellicose.part"


def test_a_traceback_follows_indented_in_text(stream: io.StringIO) -> None:
    logs.set_up("info", "text", stream)
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        logs.get_logger("channel").exception("internal error")
    first, *rest = stream.getvalue().splitlines()
    assert first.endswith("[error] <node> internal error")
    assert rest[-1] == "    second"
    assert all(line.startswith("    ") for line in rest)


def test_a_traceback_is_one_key_in_json(stream: io.StringIO) -> None:
    logs.set_up("info", "json", stream)
    try:
        raise ValueError("bad")
    except ValueError:
        logs.get_logger("channel").exception("internal error")
    assert json.loads(stream.getvalue())["exception"].endswith("ValueError: bad")


def test_values_can_be_put_into_the_sentence_late(stream: io.StringIO) -> None:
    logs.set_up("info", "text", stream)
    logs.get_logger("node").info("%d of %s", 3, "10%")
    logs.get_logger("node").info("100% sure")
    logging.getLogger("other").warning("%d", "not a number")
    endings = [line.split("> ")[1] for line in stream.getvalue().splitlines()]
    assert endings == ["3 of 10%", "100% sure", "%d ('not a number',)"]


def test_a_broker_inside_a_program_leaves_the_logs_to_it(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO, logger="harebell"):
        logs.get_logger("queue", vhost="/").info("declared")
    assert [(record.name, record.getMessage()) for record in caplog.records] == [
        ("harebell.queue", "declared")
    ]
    assert capsys.readouterr().out == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_auto_is_text_on_a_terminal_and_json_otherwise() -> None:
    assert logs.chosen_form("auto", Terminal()) == "text"
    assert logs.chosen_form("auto", io.StringIO()) == "json"
    assert logs.chosen_form("text", io.StringIO()) == "text"


def test_a_reader_that_went_away_does_not_matter(
    stream: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.set_up("info", "text", stream)
    stream.close()
    logs.get_logger("node").info("to nobody")
    assert capsys.readouterr().err == ""


def test_categories_have_levels_of_their_own_until_they_are_taken_back(stream: io.StringIO) -> None:
    logs.set_up("info", "text", stream, levels=[("connection", "error"), ("channel", "debug")])
    connection, channel, node = (logs.get_logger(name) for name in ("connection", "channel", "node"))

    def said() -> set[str]:
        stream.seek(0)
        stream.truncate()
        for name, log in (("connection", connection), ("channel", channel), ("node", node)):
            log.debug(f"{name} debug")
            log.info(f"{name} info")
            log.error(f"{name} error")
        return {" ".join(line.split()[-2:]) for line in stream.getvalue().splitlines()}

    usual = {"node info", "node error", "channel info", "channel error", "connection error"}
    assert said() == usual | {"channel debug"}
    logs.set_level("error")
    assert said() == {"node error", "channel debug", "channel info", "channel error", "connection error"}
    logs.set_level("info")
    logs.set_category_levels(())
    assert said() == usual | {"connection info"}


def test_a_file_is_appended_to_and_opened_anew_when_it_was_moved(stream: io.StringIO, tmp_path: Path) -> None:
    path = tmp_path / "harebell.log"
    path.write_text("what was there\n")
    logs.set_up("info", "text", file=path)
    log = logs.get_logger("node")
    log.info("one")
    path.rename(tmp_path / "harebell.log.1")
    log.info("two")
    assert (tmp_path / "harebell.log.1").read_text().splitlines()[0] == "what was there"
    assert (tmp_path / "harebell.log.1").read_text().endswith("one\n")
    assert path.read_text().endswith("two\n")
    assert "one" not in path.read_text()
    for handler in logging.getLogger().handlers:
        handler.close()


def test_a_file_that_cannot_be_opened_is_an_error_at_start_and_none_later(
    stream: io.StringIO, tmp_path: Path
) -> None:
    with pytest.raises(OSError, match="No such file"):
        logs.set_up(file=tmp_path / "missing" / "harebell.log")
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "harebell.log"
    logs.set_up("info", "text", file=path)
    log = logs.get_logger("node")
    path.unlink()
    folder.rmdir()
    log.info("nobody reads this")
    folder.mkdir()
    log.info("back again")
    assert path.read_text().endswith("back again\n")
    for handler in logging.getLogger().handlers:
        handler.close()
