"""The client connections of the node, by id."""

from __future__ import annotations

from collections.abc import Iterator

from harebell.ports import SessionHandle


class Sessions:
    """Gives ids to connections and lists them; ids start at 1 and are never reused.

    Attributes:
        total_opened, total_closed: connections since the node started.
    """

    def __init__(self) -> None:
        self.total_opened = 0
        self.total_closed = 0
        self._last = 0
        self._open: dict[int, SessionHandle] = {}
        self._users: dict[int, str] = {}
        self._by_user: dict[str, dict[int, SessionHandle]] = {}

    def next_id(self) -> int:
        """Give the id of a new connection."""
        self._last += 1
        return self._last

    def opened(self, session_id: int, handle: SessionHandle, user: str = "") -> None:
        """List a connection of a user whose ``connection.open`` succeeded."""
        self.total_opened += 1
        self._open[session_id] = handle
        self._users[session_id] = user
        self._by_user.setdefault(user, {})[session_id] = handle

    def find(self, session_id: int) -> SessionHandle | None:
        """Look up a connection; None if it is gone."""
        return self._open.get(session_id)

    def closed(self, session_id: int) -> bool:
        """Forget a connection; True if it was listed."""
        if self._open.pop(session_id, None) is None:
            return False
        self.total_closed += 1
        user = self._users.pop(session_id)
        of_user = self._by_user[user]
        del of_user[session_id]
        if not of_user:
            del self._by_user[user]
        return True

    def of(self, user: str) -> list[SessionHandle]:
        """List the connections of a user."""
        return list(self._by_user.get(user, {}).values())

    def count(self, user: str) -> int:
        """Count the connections of a user."""
        return len(self._by_user.get(user, ()))

    def get(self, session_id: int) -> SessionHandle | None:
        """Look up a connection by its id."""
        return self._open.get(session_id)

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[SessionHandle]:
        return iter(list(self._open.values()))
