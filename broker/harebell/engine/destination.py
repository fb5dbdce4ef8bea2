"""What a binding can lead to: a queue or an exchange."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mypy_extensions import mypyc_attr

if TYPE_CHECKING:
    from harebell.engine.exchanges.exchange import Binding


@mypyc_attr(allow_interpreted_subclasses=True)
class Destination:
    """Base of queues and exchanges, so that routing can collect both in one set.

    Attributes:
        name: the name within its virtual host.
        is_queue: tells the two kinds apart without a type test.
        incoming: the bindings that lead here, so that deleting it need not search every exchange.
    """

    def __init__(self, name: str, is_queue: bool) -> None:
        self.name = name
        self.is_queue: bool = is_queue
        self.incoming: dict[Binding, None] = {}
