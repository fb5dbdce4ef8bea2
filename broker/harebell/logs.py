"""Logs: bound, structured loggers over the standard library's, in the line shape of RabbitMQ or as JSON.

A logger of ours hands its event to the stdlib logger ``harebell.<domain>``: in an embedded broker the
program around it decides what becomes of the lines, and a server calls ``set_up()`` to write them, and
those of other libraries, to the standard output. Text from peers is escaped and bounded, so that a client
cannot forge lines or drive a terminal.
"""

import json
import logging
import logging.handlers
import re
import sys
from collections import deque
from collections.abc import Iterable, MutableMapping
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TextIO

import structlog

ROOT = "harebell"
MAX_TEXT = 8192  # characters of a message, and of one value, that are written
REMEMBERED_LINES = 1000  # at most, and only as many as have together
REMEMBERED_CHARACTERS = 1024 * 1024

# Never written, whatever a caller binds.
_SECRET_KEYS = frozenset(["password", "pass", "passwd", "secret", "token", "response", "default_pass"])

# What a peer could use to start a new line, drive a terminal or reverse the reading direction.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}

Logger = structlog.stdlib.BoundLogger


def get_logger(domain: str, **values: Any) -> Logger:
    """Return a logger of one domain: ``connection``, ``channel``, ``queue``, ``node``, ...

    ``logger.bind(conn="c7", vhost="/")`` adds values to every later line; ``conn`` is the name in angle
    brackets.

    Args:
        domain: what the lines are about; ``rabbitmq.<domain>`` in JSON.
        values: bound to the logger from the start.
    """
    logger: Logger = structlog.wrap_logger(
        logging.getLogger(f"{ROOT}.{domain}"),
        processors=[structlog.stdlib.filter_by_level, _to_stdlib],
        wrapper_class=structlog.stdlib.BoundLogger,
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    return logger.bind(**values) if values else logger


class LogFile(logging.handlers.WatchedFileHandler):
    """Appends to a file, and opens it anew where it was moved away or deleted, as logrotate does.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", errors="backslashreplace")

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:  # whoever logs must not fail because of it; the next line tries again
            self.handleError(record)


class RecentLines(logging.Handler):
    """Remembers the last lines as text, for who administers the node; they are numbered from 1."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(TextFormatter())
        self._lines: deque[str] = deque()
        self._characters = 0
        self._last = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)[: 2 * MAX_TEXT]
        except Exception:
            self.handleError(record)
            return
        self._last += 1
        self._lines.append(line)
        self._characters += len(line)
        while len(self._lines) > REMEMBERED_LINES or self._characters > REMEMBERED_CHARACTERS:
            self._characters -= len(self._lines.popleft())

    def since(self, number: int, most: int) -> tuple[int, list[str]]:
        """Give the number of the last line, and the last lines that come after another number.

        Args:
            number: lines up to this are left out; one that is yet to come stands for another process, and
                leaves out nothing.
            most: how many lines.
        """
        with self.lock or nullcontext():
            new = self._last - number if number <= self._last else self._last
            count = min(most, new, len(self._lines))
            return self._last, list(self._lines)[len(self._lines) - count :]


def remember() -> None:
    """Remember lines from now on, in a program that did not call ``set_up``."""
    if RECENT not in logging.getLogger().handlers:
        logging.getLogger(ROOT).addHandler(RECENT)


def set_up(
    level: str = "info",
    form: Literal["auto", "text", "json"] = "auto",
    stream: TextIO | None = None,
    file: Path | None = None,
    levels: Iterable[tuple[str, str]] = (),
) -> None:
    """Write the logs of the whole process to one stream or file, in place of earlier handlers.

    Args:
        level: the least severe level written: ``debug``, ``info``, ``warning``, ``error`` or ``critical``.
        form: ``text``, ``json``, or ``auto``: text on a terminal and JSON otherwise.
        stream: where to; the standard output when absent.
        file: where to in place of a stream; ``auto`` is JSON there.
        levels: of single categories.

    Raises:
        OSError: the file cannot be opened.
    """
    stream = stream or sys.stdout
    handler: logging.Handler
    if file is None:
        handler = logging.StreamHandler(stream)
        form = chosen_form(form, stream)
    else:
        handler = LogFile(file)
    handler.setFormatter(TextFormatter() if form == "text" else JsonFormatter())
    root = logging.getLogger()
    for earlier in root.handlers[:]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.addHandler(RECENT)
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # a reader of the log that went away must not fill the error output
    set_level(level)
    set_category_levels(levels)


def set_category_levels(levels: Iterable[tuple[str, str]]) -> None:
    """Give categories levels of their own, at any time; all others follow ``set_level`` again.

    Args:
        levels: categories, such as ``connection``, and levels.
    """
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if name.startswith(ROOT + ".") and isinstance(logger, logging.Logger):
            logger.setLevel(logging.NOTSET)
    for category, chosen in levels:
        logging.getLogger(f"{ROOT}.{category}").setLevel(_LEVELS[chosen])


def set_level(level: str) -> None:
    """Change the least severe level that is written, at any time.

    Args:
        level: ``debug``, ``info``, ``warning``, ``error`` or ``critical``. Below ``info`` only our own
            domains become more talkative.

    Raises:
        KeyError: there is no such level.
    """
    logging.getLogger(ROOT).setLevel(_LEVELS[level])
    logging.getLogger().setLevel(max(_LEVELS[level], logging.INFO))


def level() -> str:
    """Give the least severe level that is written."""
    return logging.getLevelName(logging.getLogger(ROOT).getEffectiveLevel()).lower()


def chosen_form(form: Literal["auto", "text", "json"], stream: TextIO) -> Literal["text", "json"]:
    """Resolve ``auto``: text on a terminal, JSON otherwise."""
    if form == "auto":
        return "text" if stream.isatty() else "json"
    return form


def escape(text: str, limit: int = MAX_TEXT) -> str:
    """Make text from a peer safe for one line of a log or an error message.

    Args:
        text: anything.
        limit: characters kept; what is cut is counted at the end.
    """
    if len(text) > limit:
        text = f"{text[:limit]}... ({len(text) - limit} more)"
    return _UNSAFE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    short = {9: "\\t", 10: "\\n", 13: "\\r"}.get(code)
    return short or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def _to_stdlib(_: Any, __: str, event: MutableMapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Hand an event to the stdlib logger: the sentence as the message, the bound values beside it."""
    message = event.pop("event", "")
    arguments: dict[str, Any] = {
        name: event.pop(name) for name in ("exc_info", "stack_info", "stacklevel") if name in event
    }
    values = event.pop("positional_args", ())
    arguments["extra"] = {"bound": dict(event)}
    return (message, *values), arguments


def _bound(record: logging.LogRecord) -> dict[str, Any]:
    return {
        key: "********" if key.lower() in _SECRET_KEYS else value
        for key, value in getattr(record, "bound", {}).items()
    }


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(sep=" ", timespec="microseconds")


class TextFormatter(logging.Formatter):
    """``2026-11-23 02:26:13.123456+00:00 [info] <c7> message``, as RabbitMQ writes it.

    Values that RabbitMQ's sentence does not already name are left to the JSON form; a traceback follows
    indented.
    """

    def format(self, record: logging.LogRecord) -> str:
        who = getattr(record, "bound", {}).get("conn", "node")
        head = f"{_time(record)} [{record.levelname.lower()}] <{escape(str(who), 64)}>"
        details = _details(self, record).splitlines()
        return "\n    ".join([f"{head} {escape(_message(record))}", *map(escape, details)])


class JsonFormatter(logging.Formatter):
    """One object a line with RabbitMQ's keys ``time, level, msg, pid, domain``, then the bound values."""

    def format(self, record: logging.LogRecord) -> str:
        values = _bound(record)
        document: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "msg": _bounded(_message(record)),
            "pid": f"<{values.get('conn', 'node')}>",
            "domain": _domain(record.name),
        }
        document |= {key: _json_value(value) for key, value in values.items() if key not in document}
        if details := _details(self, record):
            document["exception"] = details[-MAX_TEXT:]
        # The escapes of JSON, for the characters its encoder leaves as they are.
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # another library's mistake in its arguments must not lose the line
        return f"{record.msg} {record.args}"


def _details(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = []
    if record.exc_info:
        parts.append(formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(record.stack_info)
    return "\n".join(parts)


def _domain(name: str) -> str:
    return "rabbitmq" + name.removeprefix(ROOT) if name == ROOT or name.startswith(ROOT + ".") else name


def _bounded(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}... ({len(text) - MAX_TEXT} more)"


def _json_value(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    return _bounded(value if isinstance(value, str) else str(value))


RECENT = RecentLines()
"""The last lines of this process."""
