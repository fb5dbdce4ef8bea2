"""What ``harebell serve`` does on SIGHUP and SIGUSR1."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from harebell import logs
from harebell.settings import Loaded, SettingsError

if TYPE_CHECKING:
    from harebell.node import Node
    from harebell.server.systemd import Notifier


class Reload:
    """Takes up what can change while a node runs: certificates and log levels.

    Args:
        notifier: tells the service manager.
        read: reads the settings as at the start; None if they came from nowhere that can be read again.
    """

    def __init__(self, notifier: Notifier, read: Callable[[], Loaded] | None) -> None:
        self._node: Node | None = None
        self._notifier = notifier
        self._read = read
        self._task: asyncio.Task[None] | None = None
        self._again = False
        self._log = logs.get_logger("node")

    def started(self, node: Node) -> None:
        """The node serves: from now on there is something to reload, perhaps at once."""
        self._node = node
        if self._again:
            self.begin()

    def begin(self) -> None:
        """Reload now, or once more after the reload under way."""
        if self._node is None or (self._task is not None and not self._task.done()):
            self._again = True
            return
        self._task = asyncio.get_running_loop().create_task(self._run(self._node))

    def dump(self) -> None:
        """Write to the log what the node is busy with, if it serves already."""
        if self._node is not None:
            self._node.dump()

    async def _run(self, node: Node) -> None:
        while True:
            self._again = False
            self._notifier.reloading()
            self._log.info("reloading certificates and log levels")
            self._set_levels()
            good = await node.certificates.reload()
            self._notifier.ready("serving" if good else "serving, with old certificates: see the log")
            if not self._again:
                return

    def _set_levels(self) -> None:
        if self._read is None:
            return
        try:
            section = self._read().settings.log
        except SettingsError as error:
            self._log.error(f"the settings cannot be used, log levels stay as they are: {error}")
            return
        logs.set_level(section.level)
        logs.set_category_levels(section.category_levels())


def on_signals(loop: asyncio.AbstractEventLoop, reload: Reload, stop: Callable[[], None]) -> None:
    """Let SIGHUP reload and SIGUSR1 dump, where there are such signals.

    Args:
        stop: called on SIGHUP in place of a reload if the terminal the node was started from is gone.
    """
    terminal = os.isatty(0)

    def hang_up() -> None:
        if terminal and not os.isatty(0):
            stop()
        else:
            reload.begin()

    for name, action in (("SIGHUP", hang_up), ("SIGUSR1", reload.dump)):
        number = getattr(signal, name, None)
        if number is not None:
            loop.add_signal_handler(number, action)
