"""SASL responses of ``connection.start-ok``, one row per mechanism, turned into a login.

::

    PLAIN     | authorisation id | 0 | user name | 0 | password |       RFC 4616
    AMQPLAIN  entries of a field table, without its length: LOGIN and PASSWORD
    EXTERNAL  ignored; the peer's verified certificate says who it is   RFC 4422, appendix A
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from harebell.content.table import decode_table
from harebell.errors import COMMAND_INVALID, SYNTAX_ERROR, BrokerError, MalformedContent
from harebell.ports import Login


def parse_response(mechanism: str, response: bytes | str) -> Login:
    """Turn the response of a mechanism into a login.

    Args:
        mechanism: as the client named it.
        response: its octets; as str if they happened to decode as UTF-8.

    Raises:
        BrokerError: COMMAND_INVALID for an unknown mechanism, SYNTAX_ERROR for a malformed response.
    """
    parse = MECHANISMS.get(mechanism)
    if parse is None:
        raise BrokerError(COMMAND_INVALID, f"unknown authentication mechanism '{mechanism}'")
    return parse(response.encode("utf-8", "surrogateescape") if isinstance(response, str) else response)


def _plain(response: bytes) -> Login:
    parts = response.split(b"\x00")
    if len(parts) != 3 or parts[0] not in (b"", parts[1]):
        raise BrokerError(SYNTAX_ERROR, "malformed response of authentication mechanism PLAIN")
    return Login("PLAIN", parts[1].decode("utf-8", "surrogateescape"), parts[2])


def _amqplain(response: bytes) -> Login:
    try:
        table = decode_table(response, 0, len(response))
    except MalformedContent:
        raise BrokerError(SYNTAX_ERROR, "malformed response of authentication mechanism AMQPLAIN") from None
    username, password = table.get("LOGIN"), table.get("PASSWORD")
    if isinstance(username, bytes):
        username = username.decode("utf-8", "surrogateescape")
    if isinstance(password, str):
        password = password.encode("utf-8", "surrogateescape")
    if not isinstance(username, str) or not isinstance(password, bytes):
        raise BrokerError(SYNTAX_ERROR, "AMQPLAIN auth info is missing LOGIN or PASSWORD field")
    return Login("AMQPLAIN", username, password)


def _external(response: bytes) -> Login:
    return Login("EXTERNAL", "", b"")


MECHANISMS: Final[dict[str, Callable[[bytes], Login]]] = {
    "PLAIN": _plain,
    "AMQPLAIN": _amqplain,
    "EXTERNAL": _external,
}
"""The mechanisms this broker can speak; which of them it offers is a setting."""
