"""Free disk space: below the limit publishers wait, and go on when there is space again."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from pamqp import commands

from harebell.node import Node
from harebell.settings import Settings
from tests.server.wire import Wire, publish

LIMIT = 1000


class Disk:
    """Free space as the test says, and a way to know that the broker has seen it."""

    def __init__(self, free: int) -> None:
        self.free = free
        self._looks = 0

    def free_bytes(self) -> int:
        """Give the free space."""
        self._looks += 1
        return self.free

    async def looked_at_again(self) -> None:
        """Wait until the broker has looked twice."""
        seen = self._looks
        while self._looks < seen + 2:
            await asyncio.sleep(0.01)


def test_publishers_wait_while_the_disk_is_short_and_go_on_after(tmp_path: Path) -> None:
    asyncio.run(asyncio.wait_for(scenario(tmp_path), 30))


async def scenario(data_dir: Path) -> None:
    settings = Settings.model_validate(
        {"server": {"port": 0, "bind": ["127.0.0.1"]}, "limits": {"disk_free_limit": LIMIT}}
    )
    node = Node(settings, data_dir)
    await node.start()
    try:
        assert node.server is not None
        disk = Disk(LIMIT)
        node.server.free_bytes = disk.free_bytes
        publisher = Wire(node.addresses[0][1])
        await asyncio.to_thread(publisher.open, channels=1)
        await asyncio.to_thread(publisher.declare, "jobs")
        publisher.send(publish("jobs", b"x"))
        await asyncio.to_thread(publisher.round_trip)
        disk.free = LIMIT - 1
        blocked = await asyncio.to_thread(publisher.expect, commands.Connection.Blocked)
        assert blocked.reason == "low on disk"
        disk.free = LIMIT + 1
        await disk.looked_at_again()
        assert node.broker.alarms.active, "a little above the limit is not enough: the alarm must not flap"
        disk.free = 2 * LIMIT
        await asyncio.to_thread(publisher.expect, commands.Connection.Unblocked)
        with contextlib.suppress(OSError):
            publisher.close()
    finally:
        await node.stop()
