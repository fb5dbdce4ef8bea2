import struct

import pytest
from pamqp import base, commands, frame

from harebell.perf import methods
from harebell.perf.errors import OptionError


def by_pamqp(method: base.Frame) -> bytes:
    return frame.marshal(method, 1)[7:-1]


@pytest.mark.parametrize(
    ("ours", "reference"),
    [
        (
            methods.exchange_declare("x", "fanout", durable=True),
            commands.Exchange.Declare(exchange="x", exchange_type="fanout", durable=True),
        ),
        (
            methods.exchange_declare("x", "topic", passive=True),
            commands.Exchange.Declare(exchange="x", exchange_type="topic", passive=True),
        ),
        (methods.exchange_delete("x"), commands.Exchange.Delete(exchange="x")),
        (
            methods.queue_declare("q", {"x-max-length": 5, "x-single-active-consumer": True}, durable=True),
            commands.Queue.Declare(
                queue="q", durable=True, arguments={"x-max-length": 5, "x-single-active-consumer": True}
            ),
        ),
        (methods.queue_declare("q", {}, passive=True), commands.Queue.Declare(queue="q", passive=True)),
        (
            methods.queue_bind("q", "x", "a.b", {"x-match": "all"}),
            commands.Queue.Bind(queue="q", exchange="x", routing_key="a.b", arguments={"x-match": "all"}),
        ),
        (methods.queue_delete("q"), commands.Queue.Delete(queue="q")),
        (methods.basic_consume("q", {}, no_ack=True), commands.Basic.Consume(queue="q", no_ack=True)),
        (methods.basic_consume("q", {}, no_ack=False), commands.Basic.Consume(queue="q")),
        (
            methods.basic_consume("q", {"x-stream-offset": "first"}, no_ack=False),
            commands.Basic.Consume(queue="q", arguments={"x-stream-offset": "first"}),
        ),
    ],
)
def test_methods_are_encoded_as_pamqp_does(ours: bytes, reference: base.Frame) -> None:
    assert ours == by_pamqp(reference)


def test_names_that_pamqp_refuses_are_sent() -> None:
    payload = methods.queue_delete("a|b*é")
    assert payload == struct.pack(">HHH", 50, 40, 0) + b"\x06a|b*\xc3\xa9\x00"


def test_a_name_longer_than_255_octets_is_refused() -> None:
    with pytest.raises(OptionError, match="255 octets"):
        methods.queue_delete("é" * 128)
