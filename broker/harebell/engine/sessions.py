"""The client connections of the node, by id."""

from __future__ import annotations

from collections.abc import Iterator

from harebell.ports import SessionHandle


class Sessions:
    """Gives ids to connections and lists them; ids start at 1 and are never reused."""

    def __init__(self) -> None:
        self._last = 0
        self._open: dict[int, SessionHandle] = {}

    def next_id(self) -> int:
        """Give the id of a new connection."""
        self._last += 1
        return self._last

    def opened(self, session_id: int, handle: SessionHandle) -> None:
        """List a connection whose ``connection.open`` succeeded."""
        self._open[session_id] = handle

    def closed(self, session_id: int) -> bool:
        """Forget a connection; True if it was listed."""
        return self._open.pop(session_id, None) is not None

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[SessionHandle]:
        return iter(list(self._open.values()))
