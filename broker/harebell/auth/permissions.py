"""What a user may do in a virtual host: regular expressions on names and on routing keys.

As in RabbitMQ a pattern matches anywhere in the name, so anchoring it is up to who writes it, and the
empty pattern matches the empty name only.  RabbitMQ's expressions are PCRE; what Python's ``re`` does not
understand, or understands otherwise, is refused when it is set.
"""

from __future__ import annotations

import re
import warnings
from functools import lru_cache
from typing import Final

from harebell.errors import PRECONDITION_FAILED, BrokerError

PERMISSIONS: Final = ("configure", "write", "read")

DEFAULT_EXCHANGE: Final = "amq.default"
"""The name permissions know the default exchange by."""


REMEMBERED: Final = 1024
"""Answers kept for a user in a virtual host; names are up to clients."""


@lru_cache(maxsize=4096)
def _compiled(text: str) -> re.Pattern[str]:
    """Compile an expression once for all who use it: thousands of users have the same few."""
    try:
        with warnings.catch_warnings():
            # ``[[:alpha:]]`` and the like mean something else to PCRE: better refused than misread.
            warnings.simplefilter("error")
            return re.compile(text)
    except (re.error, OverflowError, RecursionError, Warning) as error:
        raise BrokerError(PRECONDITION_FAILED, f"invalid regular expression: {error}") from None


class NamePattern:
    """One regular expression of a permission, compiled once.

    Args:
        text: the expression; empty matches the empty name only.

    Raises:
        BrokerError: PRECONDITION_FAILED if it is not a regular expression.
    """

    __slots__ = ("_compiled", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._compiled = _compiled(text or "^$")

    def matches(self, name: str) -> bool:
        """Tell whether the expression matches anywhere in the name."""
        return self._compiled.search(name) is not None


class Permissions:
    """A user's permissions in one virtual host: what may be configured, written and read.

    Raises:
        BrokerError: PRECONDITION_FAILED if one of them is not a regular expression.
    """

    __slots__ = ("_known", "_patterns")

    def __init__(self, configure: str, write: str, read: str) -> None:
        self._known: dict[tuple[str, str], bool] = {}
        self._patterns = {
            "configure": NamePattern(configure),
            "write": NamePattern(write),
            "read": NamePattern(read),
        }

    def allow(self, permission: str, name: str) -> bool:
        """Check one permission on an exchange or queue; the default exchange may come as ``''`` too.

        Raises:
            KeyError: there is no such permission.
        """
        asked = (permission, name)
        known = self._known.get(asked)
        if known is None:
            known = self._patterns[permission].matches(name or DEFAULT_EXCHANGE)
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[asked] = known
        return known

    def texts(self) -> tuple[str, str, str]:
        """Give the expressions for configure, write and read, as they were set."""
        patterns = self._patterns
        return patterns["configure"].text, patterns["write"].text, patterns["read"].text


class TopicPermissions:
    """A user's permissions on the routing keys of one topic exchange.

    ``{username}`` and ``{vhost}`` in the expressions stand for the user's name and the virtual host's,
    taken literally whatever characters they hold.

    Raises:
        BrokerError: PRECONDITION_FAILED if one of them is not a regular expression.
    """

    __slots__ = ("_patterns", "_texts")

    def __init__(self, write: str, read: str, username: str, vhost: str) -> None:
        self._texts = (write, read)
        self._patterns = {
            "write": NamePattern(_substitute(write, username, vhost)),
            "read": NamePattern(_substitute(read, username, vhost)),
        }

    def allow(self, permission: str, routing_key: str) -> bool:
        """Check ``write`` or ``read`` on a routing key.

        Raises:
            KeyError: there is no such permission on topics.
        """
        return self._patterns[permission].matches(routing_key)

    def texts(self) -> tuple[str, str]:
        """Give the expressions for write and read, as they were set."""
        return self._texts


_VARIABLE: Final = re.compile(r"\{(username|vhost)\}")


def _substitute(pattern: str, username: str, vhost: str) -> str:
    values = {"username": re.escape(username), "vhost": re.escape(vhost)}
    return _VARIABLE.sub(lambda found: values[found[1]], pattern)
