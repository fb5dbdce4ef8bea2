"""Where harebell deliberately answers otherwise than RabbitMQ 3.10, and why.

The tests named here show harebell's behaviour. Against RabbitMQ they are expected to fail (an unexpected
success is an error, so that the table stays true), and the reason is printed.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """What RabbitMQ 3.10 does in a test, and why harebell does something else."""

    rabbitmq: str
    reason: str


_IMMEDIATE = Difference(
    rabbitmq="540 NOT_IMPLEMENTED closes the connection",
    reason="the specification has `immediate`, and keeping its promise costs nothing",
)

DIFFERENCES: dict[str, Difference] = {
    "asyncio_clients/test_exchanges.py::test_an_unknown_exchange_type_is_a_channel_error_406": Difference(
        rabbitmq="503 COMMAND_INVALID closes the connection",
        reason="as RabbitMQ 4 does, so that one typing error does not end the other channels",
    ),
    "asyncio_clients/test_publishing.py"
    "::test_an_immediate_message_that_no_consumer_takes_is_returned_with_313": _IMMEDIATE,
    "asyncio_clients/test_publishing.py::test_an_immediate_message_reaches_a_waiting_consumer": _IMMEDIATE,
    "asyncio_clients/test_consuming.py::test_flow_off_pauses_deliveries_and_flow_on_resumes_them": Difference(
        rabbitmq="540 NOT_IMPLEMENTED closes the connection",
        reason="`channel.flow` pauses the deliveries of a channel, as the specification says",
    ),
}
