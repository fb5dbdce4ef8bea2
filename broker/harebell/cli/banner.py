"""The few lines a broker shows when it is ready."""

import platform
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from harebell import __version__
from harebell.cli.exits import address
from harebell.settings import Settings

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
_BOLD, _DIM, _RESET = "\x1b[1m", "\x1b[2m", "\x1b[0m"


def banner(
    settings: Settings,
    addresses: Sequence[tuple[str, int]],
    data: Path | None,
    *,
    hot_path: str,
    loop: str,
    colour: bool,
) -> str:
    """Return the banner: where clients connect, where data lives, what is running and how to stop it.

    Args:
        settings: those of the node.
        addresses: the hosts and ports that are really listened on.
        data: the data folder, or None when everything is in memory.
        hot_path: ``compiled`` or ``interpreted``.
        loop: name of the event loop.
        colour: whether it goes to a terminal that shows colours.
    """
    bold, dim, reset = (_BOLD, _DIM, _RESET) if colour else ("", "", "")
    rows = [
        ("AMQP", _urls(settings, addresses)),
        ("Data", str(data) if data else "in memory"),
        ("Runs", f"{hot_path}, on {loop} and Python {platform.python_version()}"),
        ("Seen as", f"{settings.compat.product} {settings.compat.version} by clients"),
    ]
    lines = [f"{bold}harebell {__version__}{reset}"]
    lines += [f"  {dim}{label:8}{reset} {text}" for label, text in rows]
    return "\n".join([*lines, f"  {dim}Ctrl-C stops it{reset}"])


def _urls(settings: Settings, addresses: Sequence[tuple[str, int]]) -> str:
    """Return a URL to copy; the password only when it is the one everybody knows."""
    user = quote(settings.auth.default_user, safe="")
    known = (settings.auth.default_user, settings.auth.default_pass.get_secret_value()) == ("guest", "guest")
    login = f"{user}:guest" if known else user
    urls = [f"amqp://{login}@{address(_WILDCARDS.get(host, host), port)}/" for host, port in addresses]
    return "  ".join(dict.fromkeys(urls)) or "no listener"
