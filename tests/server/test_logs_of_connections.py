"""The sentences operators search for, as RabbitMQ writes them (conventions of its log)."""

from __future__ import annotations

import re
from pathlib import Path

from pamqp import commands

from tests.server.process import BrokerProcess, eventually, running_broker
from tests.server.wire import METHOD, Wire, raw_frame

TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}\+00:00"


def lines_of(broker: BrokerProcess) -> list[str]:
    """The log lines, without what is no log line: the banner."""
    return [line for line in broker.log.splitlines() if re.match(TIME, line)]


def the_line(broker: BrokerProcess, pattern: str) -> int:
    """Wait for the one line that matches, and return its place."""

    def found() -> list[int]:
        return [place for place, line in enumerate(lines_of(broker)) if re.fullmatch(pattern, line)]

    eventually(found, f"a log line like {pattern}")
    assert len(found()) == 1, f"more than one line like {pattern}:\n{broker.log}"
    return found()[0]


def test_the_life_of_connections(tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker:
        clean = Wire(broker.port)
        peer = f"127.0.0.1:{clean.socket.getsockname()[1]} -> 127.0.0.1:{broker.port}"
        clean.open().close_politely()
        head = rf"{TIME} \[info\] <c1> "
        accepted = the_line(broker, head + rf"accepting AMQP connection {peer}")
        granted = the_line(
            broker,
            head + rf"connection {peer}: user 'guest' authenticated and granted access to vhost '/'",
        )
        closing = rf"closing AMQP connection {peer} \(vhost: '/', user: 'guest', duration: '\d+\.\ds'\)"
        closed = the_line(broker, head + closing)
        assert accepted < granted < closed

        dropped = Wire(broker.port).open()
        dropped.close()
        the_line(broker, rf"{TIME} \[(info|warning)\] <c2> .*client unexpectedly closed TCP connection")

        refused = Wire(broker.port)
        refused.log_in(password="secret-guess")
        refused.expect(commands.Connection.Close)
        refused.close()
        the_line(broker, rf"{TIME} \[error\] <c3> PLAIN login refused: user 'guest' - invalid credentials")
        assert "secret-guess" not in broker.log

        faulty = Wire(broker.port).open(channels=1)
        name = b"not\nthere\x1b[31m"  # pamqp refuses such names, RabbitMQ and we do not
        passive_declare = b"\x00\x32\x00\x0a\x00\x00" + bytes([len(name)]) + name + b"\x01" + bytes(4)
        faulty.send(raw_frame(METHOD, 1, passive_declare))
        faulty.expect(commands.Channel.Close)
        the_line(broker, rf"{TIME} \[warning\] <c4> channel 1: NOT_FOUND - no queue 'notthere\\x1b\[31m' .*")
        faulty.close()
        broker.assert_unharmed()


def test_start_up_ends_with_the_sentence_tools_wait_for(tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker:
        node = rf"{TIME} \[info\] <node> "
        complete = node + r"Server startup complete; 0 plugins started\."
        listening = the_line(broker, node + rf"started TCP listener on 127\.0\.0\.1:{broker.port}")
        assert listening < the_line(broker, complete)
        assert re.fullmatch(complete, lines_of(broker)[-1])
