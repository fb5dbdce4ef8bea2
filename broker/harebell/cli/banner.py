"""The few lines a broker shows when it is ready."""

import platform
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from harebell import __version__
from harebell.administration.host import Listener
from harebell.cli.exits import address
from harebell.settings import Settings

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
_BOLD, _DIM, _RESET = "\x1b[1m", "\x1b[2m", "\x1b[0m"


def banner(
    settings: Settings,
    listeners: Sequence[Listener],
    data: Path | None,
    *,
    hot_path: str,
    loop: str,
    colour: bool,
) -> str:
    """Return the banner: where clients connect, where data lives, what is running and how to stop it.

    Args:
        settings: those of the node.
        listeners: the addresses that are really listened on.
        data: the data folder, or None when everything is in memory.
        hot_path: ``compiled`` or ``interpreted``.
        loop: name of the event loop.
        colour: whether it goes to a terminal that shows colours.
    """
    bold, dim, reset = (_BOLD, _DIM, _RESET) if colour else ("", "", "")
    rows = [
        ("AMQP", _amqp_urls(settings, listeners)),
        ("HTTP", _urls(listeners, "http", "/api/") + _urls(listeners, "https", "/api/")),
        (
            "Metrics",
            _urls(listeners, "http/prometheus", "/metrics")
            + _urls(listeners, "https/prometheus", "/metrics"),
        ),
        ("Data", str(data) if data else "in memory"),
        ("Runs", f"{hot_path}, on {loop} and Python {platform.python_version()}"),
        ("Seen as", f"{settings.compat.product} {settings.compat.version} by clients"),
    ]
    lines = [f"{bold}harebell {__version__}{reset}"]
    lines += [f"  {dim}{label:8}{reset} {text.rstrip()}" for label, text in rows if text]
    return "\n".join([*lines, f"  {dim}Ctrl-C stops it{reset}"])


def _urls(listeners: Sequence[Listener], protocol: str, path: str) -> str:
    """Return the first URL of a protocol; nothing if it is not listened on."""
    scheme = protocol.partition("/")[0]
    found = [each for each in listeners if each.protocol == protocol][:1]
    return "".join(
        f"{scheme}://{address(_WILDCARDS.get(each.host, each.host), each.port)}{path}  " for each in found
    )


def _amqp_urls(settings: Settings, listeners: Sequence[Listener]) -> str:
    """Return a URL to copy; the password only when it is the one everybody knows."""
    user = quote(settings.auth.default_user, safe="")
    known = (settings.auth.default_user, settings.auth.default_pass.get_secret_value()) == ("guest", "guest")
    login = f"{user}:guest" if known else user
    schemes = {"amqp": "amqp", "amqp/ssl": "amqps"}
    urls = [
        f"{schemes[each.protocol]}://{login}@{address(_WILDCARDS.get(each.host, each.host), each.port)}/"
        for each in listeners
        if each.protocol in schemes
    ]
    return "  ".join(dict.fromkeys(urls)) or "no listener"
