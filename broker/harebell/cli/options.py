"""Options that many commands have: which broker, which virtual host, how lists look."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from harebell.cli.exits import USAGE, Failure
from harebell.cli.output import (
    FORMATS,
    QUIET,
    Column,
    Row,
    csv_lines,
    emit,
    json_text,
    selected,
    table,
    value_at,
)

if TYPE_CHECKING:
    from harebell.cli.api import Api

F = TypeVar("F", bound=Callable[..., Any])

_SHARED = "harebell.connection"


class Listing(NamedTuple):
    """How a list is to be shown.

    Attributes:
        columns: what to show.
        chosen: whether the user chose the columns.
        sort: key to sort by; empty for the broker's order.
        reverse: largest first.
        form: ``table``, ``json`` or ``csv``.
    """

    columns: tuple[Column, ...]
    chosen: bool
    sort: str
    reverse: bool
    form: str

    @property
    def query(self) -> dict[str, str]:
        """What to ask the API for, so that it need not send what is not shown."""
        if self.form == "json" and not self.chosen:
            return {}
        keys = [column.key for column in self.columns] + [self.sort] * bool(self.sort)
        return {"columns": ",".join(dict.fromkeys(keys))}

    def show(self, rows: Sequence[Row]) -> None:
        """Print rows."""
        if self.sort:
            rows = sorted(rows, key=lambda row: _order(value_at(row, self.sort)))
        if self.reverse:
            rows = list(reversed(rows))
        if self.form == "json":
            found = [selected(row, self.columns) for row in rows] if self.chosen else list(rows)
            emit([json_text(found)])
        elif self.form == "csv":
            emit(csv_lines(rows, self.columns))
        else:
            emit(table(rows, self.columns))


def _order(value: Any) -> tuple[int, float, str]:
    """Order numbers before text, and absent values first."""
    if value is None or value == "":
        return (0, 0.0, "")
    if isinstance(value, int | float):
        return (1, float(value), "")
    return (2, 0.0, value if isinstance(value, str) else json.dumps(value))


def connection_options(function: F) -> F:
    """Add the options that say where the API is and who asks; :func:`open_api` reads them."""
    for option in reversed(
        [
            _kept(
                "--url", metavar="URL", help="HTTP API: http://guest:guest@127.0.0.1:15672 ($HAREBELL_URL)."
            ),
            _kept("--login", metavar="NAME", help="Log in as this user."),
            _kept(
                "--login-password-file",
                metavar="FILE",
                help="File with its password; - is the standard input.",
            ),
            _kept("--ca", metavar="FILE", help="Authorities that vouch for an HTTPS server."),
            _kept(
                "--insecure", is_flag=True, default=None, help="Do not check an HTTPS server's certificate."
            ),
            _kept("--timeout", type=float, metavar="SECONDS", help="Longest wait for an answer (30)."),
        ]
    ):
        function = option(function)
    return function


def _kept(*names: str, **options: Any) -> Callable[[F], F]:
    """Make an option whose value goes into the context, where parents' values are found, too."""

    def keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value is not None:
            context.meta.setdefault(_SHARED, {})[parameter.name] = value

    return click.option(*names, expose_value=False, callback=keep, **options)


def _quiet(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.meta[QUIET] = True


quiet_option = click.option(
    "-q", "--quiet", is_flag=True, expose_value=False, callback=_quiet, help="Say nothing when all is well."
)


def with_api(function: Callable[..., int | None]) -> Callable[..., int | None]:
    """Give a command the API as its first argument, and the options that say where it is."""

    @functools.wraps(function)
    def called(*arguments: Any, **options: Any) -> int | None:
        api = open_api()
        try:
            return function(api, *arguments, **options)
        finally:
            api.close()

    return quiet_option(connection_options(called))


def open_api(timeout: float = 30.0) -> Api:
    """Make the client that the options in the context ask for.

    Args:
        timeout: seconds, when the user named none.

    Raises:
        Failure: the URL or the password file cannot be used.
    """
    from harebell.cli.api import Api, default_api, default_url

    given = click.get_current_context().meta.get(_SHARED, {})
    seconds = given.get("timeout") or timeout
    ca = Path(given["ca"]) if given.get("ca") else None
    verify = not given.get("insecure")
    user, file = given.get("login"), given.get("login_password_file")
    if not (given.get("url") or user or file):
        return default_api(os.environ, seconds, ca=ca, verify=verify)
    api = Api(given.get("url") or default_url(os.environ), seconds, ca=ca, verify=verify)
    if not user and not file:
        return api
    password = read_secret(file) if file else click.prompt(f"Password of {user}", hide_input=True, err=True)
    return api.login_as(user or api.user, password)


def read_secret(file: str) -> str:
    """Read a password from a file, - for the standard input; the newline at its end does not count.

    Raises:
        Failure: the file cannot be read.
    """
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"the password cannot be read from {file}: {error}", USAGE) from None
    return text.removesuffix("\n").removesuffix("\r")


def vhost_option(function: F) -> F:
    """Add -p/--vhost with the default virtual host."""
    return click.option(
        "-p",
        "--vhost",
        default="/",
        metavar="VHOST",
        show_default=True,
        help="Virtual host.",
        envvar="HAREBELL_VHOST",
    )(function)


def any_vhost_option(function: F) -> F:
    """Add -p/--vhost that is None for all of them."""
    return click.option(
        "-p", "--vhost", default=None, metavar="VHOST", help="Only of this virtual host; all by default."
    )(function)


def listing(*columns: Column | str) -> Callable[[F], F]:
    """Add --columns, --sort, --reverse and --format; the command gets a ``Listing`` named ``shown``.

    Args:
        columns: what is shown when the user does not choose.
    """
    default = tuple(Column(column) if isinstance(column, str) else column for column in columns)

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def called(
            *arguments: Any, columns: str | None, sort: str, reverse: bool, form: str, **options: Any
        ) -> Any:
            chosen = default
            if columns:
                known = {column.head: column for column in default}
                names = [name.strip() for name in columns.split(",") if name.strip()]
                chosen = tuple(known.get(name, Column(name)) for name in names)
            order = next((column.key for column in default if sort and column.head == sort), sort)
            shown = Listing(chosen, bool(columns), order, reverse, form)
            return function(*arguments, shown=shown, **options)

        for option in (
            click.option(
                "-o", "--format", "form", type=click.Choice(FORMATS), default="table", help="Form of output."
            ),
            click.option("--reverse", is_flag=True, help="The other way round."),
            click.option("--sort", default="", metavar="COLUMN", help="Sort by this column."),
            click.option(
                "--columns",
                metavar="A,B.C",
                help="Columns to show, any of the API's fields, dotted where nested.",
            ),
        ):
            called = option(called)
        return called  # type: ignore[return-value]

    return decorate


def form_option(function: F) -> F:
    """Add --format for a single object."""
    return click.option(
        "-o",
        "--format",
        "form",
        type=click.Choice(("table", "json")),
        default="table",
        help="Form of output.",
    )(function)


def read_json(text: str, what: str) -> Any:
    """Read a value given as JSON.

    Raises:
        Failure: it is none.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise Failure(f"{what} is no JSON: {error}", USAGE) from None


def read_arguments(pairs: Sequence[str], document: str | None) -> dict[str, Any]:
    """Read ``KEY=VALUE`` pairs, values as JSON where they are JSON and as text otherwise, over a document.

    Raises:
        Failure: a pair has no ``=``, or the document is no JSON object.
    """
    found: dict[str, Any] = {}
    if document:
        read = read_json(document, "--arguments")
        if not isinstance(read, dict):
            raise Failure("--arguments is no JSON object", USAGE)
        found.update(read)
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise Failure(f"{pair!r} is not KEY=VALUE", USAGE)
        found[key] = read_scalar(text)
    return found


def read_scalar(text: str) -> Any:
    """Read a value: JSON if it is some, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def argument_options(function: F) -> F:
    """Add -a KEY=VALUE and --arguments JSON, as ``argument`` and ``arguments``."""
    function = click.option("--arguments", metavar="JSON", help="Arguments as a JSON object.")(function)
    return click.option(
        "-a",
        "--argument",
        multiple=True,
        metavar="KEY=VALUE",
        help="An argument, such as -a x-max-length=1000.",
    )(function)
