"""The exchange and queues of a run: declared before it, and only what it made deleted after it."""

from dataclasses import dataclass, field
from typing import TypeVar

from pamqp import commands

from harebell.perf import methods
from harebell.perf.connection import Connection
from harebell.perf.errors import ClosedByServer
from harebell.perf.messages import Address
from harebell.perf.options import Options

T = TypeVar("T")

_NOT_FOUND = 404


@dataclass
class Topology:
    """Names, decided from the options and ``run_name``, and what the server already had.

    ``copies`` is how many of the queues each message goes to, ``dead`` are their dead-letter queues, if any.
    """

    queues: list[str]
    exchange: str
    exchange_type: str
    addresses: list[Address]
    copies: int
    headers: dict[str, str] = field(default_factory=dict)
    created: list[str] = field(default_factory=list)
    created_exchange: bool = False
    dead: list[str] = field(default_factory=list)

    @classmethod
    def plan(cls, options: Options, run_name: str) -> "Topology":
        """Decide the names.

        Over the default, a direct or a topic exchange, publishes go to the queues in turn, each queue bound
        with its own name; with a routing key given, or over fanout and headers, each goes to every queue.
        """
        base = options.queue or run_name
        queues = [base] if options.queues == 1 else [f"{base}-{n}" for n in range(1, options.queues + 1)]
        if not options.exchange and options.exchange_type is None:
            keys = queues if options.routing_key is None else [options.routing_key]
            return cls(queues, "", "direct", [Address("", key) for key in keys], 1)
        exchange = options.exchange or run_name
        kind = options.exchange_type or "direct"
        if kind in ("fanout", "headers") or options.routing_key is not None:
            shared = Address(exchange, options.routing_key or "")
            headers = {"harebell-perf": run_name} if kind == "headers" else {}
            return cls(queues, exchange, kind, [shared], len(queues), headers)
        return cls(queues, exchange, kind, [Address(exchange, queue) for queue in queues], 1)

    def with_dead_letters(self) -> "Topology":
        """Give each queue a dead-letter queue."""
        self.dead = [f"{queue}-dead" for queue in self.queues]
        return self

    async def declare(self, connection: Connection, options: Options) -> None:
        """Declare what is missing and bind it; what exists is used as it is, bindings too, and kept.

        Raises PerfError.
        """
        if self.exchange and not await self._exists(
            connection,
            methods.exchange_declare(self.exchange, self.exchange_type, passive=True),
            commands.Exchange.DeclareOk,
        ):
            payload = methods.exchange_declare(self.exchange, self.exchange_type, durable=options.durable)
            await connection.call(payload, commands.Exchange.DeclareOk)
            self.created_exchange = True
        for queue in self.dead:
            payload = methods.queue_declare(queue, {}, durable=options.durable)
            await connection.call(payload, commands.Queue.DeclareOk)
            self.created.append(queue)
        for number, queue in enumerate(self.queues):
            is_new = options.queue is None or not await self._exists(
                connection, methods.queue_declare(queue, {}, passive=True), commands.Queue.DeclareOk
            )
            if is_new:
                arguments = dict(options.queue_args)
                if self.dead:
                    dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": self.dead[number]}
                    arguments.update(dead)
                payload = methods.queue_declare(queue, arguments, durable=options.durable)
                await connection.call(payload, commands.Queue.DeclareOk)
                self.created.append(queue)
            if self.exchange and (is_new or self.created_exchange):
                key = self.addresses[0].routing_key if len(self.addresses) == 1 else queue
                match = {"x-match": "all", **self.headers} if self.headers else {}
                await connection.call(
                    methods.queue_bind(queue, self.exchange, key, match), commands.Queue.BindOk
                )

    async def delete(self, connection: Connection) -> None:
        """Delete what ``declare`` created. Raises PerfError."""
        while self.created:
            await connection.call(methods.queue_delete(self.created[-1]), commands.Queue.DeleteOk)
            self.created.pop()
        if self.created_exchange:
            await connection.call(methods.exchange_delete(self.exchange), commands.Exchange.DeleteOk)
            self.created_exchange = False

    @staticmethod
    async def _exists(
        connection: Connection,
        passive_declare: bytes,
        reply: type[commands.Exchange.DeclareOk] | type[commands.Queue.DeclareOk],
    ) -> bool:
        try:
            await connection.call(passive_declare, reply)
        except ClosedByServer as error:
            if error.reply_code != _NOT_FOUND:
                raise
            await connection.open_channel()
            return False
        return True


def share(items: list[T], workers: int, worker: int) -> list[T]:
    """Return the items of one of ``workers``: one each when there are enough workers, else every n-th."""
    if workers >= len(items):
        return [items[worker % len(items)]]
    return items[worker::workers]
