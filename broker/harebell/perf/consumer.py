"""A connection that consumes; counting and acknowledging are done by its ``inbound``."""

from collections.abc import Callable

from harebell.perf.connection import Connection
from harebell.perf.errors import PerfError
from harebell.perf.inbound import Inbound


class Consumer(Connection):
    """Consumes. ``on_deliveries``, when set, is called after each chunk read."""

    def __init__(self, inbound: Inbound, on_failure: Callable[[PerfError], None]) -> None:
        super().__init__(inbound, on_failure)
        self.on_deliveries: Callable[[], None] | None = None

    def after_read(self) -> None:
        if self.on_deliveries is not None:
            self.on_deliveries()
