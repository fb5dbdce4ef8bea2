"""Reading a command line as rabbitmqctl does, and running the command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

from harebell import __version__
from harebell.cli.api import Api, default_api
from harebell.cli.ctl.call import Call, Command, Invalid, Refusal, report
from harebell.cli.exits import INTERRUPTED, OK, USAGE, Failure

MODULES = ("probes", "lists", "access", "objects", "nodes", "maintenance", "plugins")
"""Modules of this package with commands, the quickest to import first: probes run every few seconds."""

TOOLS = (
    "rabbitmqctl",
    "rabbitmq-diagnostics",
    "rabbitmq-queues",
    "rabbitmq-streams",
    "rabbitmq-upgrade",
    "rabbitmq-plugins",
)
FORMATTERS = ("table", "pretty_table", "csv", "json", "json_stream", "erlang", "string", "inspect", "plugins")

_SWITCHES = {
    "-q": "quiet",
    "--quiet": "quiet",
    "-s": "silent",
    "--silent": "silent",
    "-l": "longnames",
    "--longnames": "longnames",
    "--no-table-headers": "no-table-headers",
    "--table-headers": "table-headers",
    "--dry-run": "dry-run",
    "-d": "dry-run",
    "--help": "help",
    "-?": "help",
    "-h": "help",
}
_OWN = frozenset({("log_tail_stream", "-d")})
"""Commands and short options of theirs that mean something else to all others."""

_OPTIONS = {
    "-n": "node",
    "--node": "node",
    "-t": "timeout",
    "--timeout": "timeout",
    "-p": "vhost",
    "--vhost": "vhost",
    "--formatter": "formatter",
    "--printer": "printer",
    "--file": "file",
    "--script-name": "tool",
    "--erlang-cookie": "cookie",
    "--aliases-file": "aliases",
    "--rabbitmq-home": "home",
    "--mnesia-dir": "mnesia",
    "--plugins-dir": "plugins",
    "--enabled-plugins-file": "enabled",
    "--url": "url",
}


def run(arguments: Sequence[str], tool: str = "rabbitmqctl") -> int:
    """Run a command.

    Args:
        arguments: what follows the tool's name.
        tool: the name it is called by; ``--script-name`` names another.

    Returns:
        The exit code rabbitmqctl would give.
    """
    try:
        return _run(list(arguments), tool)
    except Refusal as error:
        report(str(error))
        return error.exit_code
    except Failure as error:
        report(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return OK


def _run(arguments: list[str], tool: str) -> int:
    given, words = _split(arguments)
    tool = given.get("tool", tool)
    name = words[0] if words else ""
    if name == "help" or (not name and "help" in given):
        return _help(tool, words[1] if len(words) > 1 else "")
    if name in ("version", ""):
        return _version(tool, name)
    command = find(name, tool)
    if command is None:
        close = get_close_matches(name, names(tool), n=1)
        hint = f"Did you mean '{close[0]}'?" if close else f"See '{tool} help'."
        print(f"\nCommand '{name}' not found. \n{hint} \n", file=sys.stderr)
        return USAGE
    if "help" in given:
        return _help(tool, name)
    try:
        call = _call(tool, name, command, given, words[1:])
        try:
            return command.handler(call) or OK
        finally:
            call.api.close()
    except Invalid as error:
        said = "\t" + " ".join(_hidden(arguments, name))
        print(f"Error (argument validation): {error}\nArguments given:\n{said}\n", file=sys.stderr)
        print(_usage(tool, name, command), file=sys.stderr)
        return error.exit_code


def _hidden(arguments: list[str], name: str) -> list[str]:
    """Leave out what may be a password, which the original repeats."""
    if "password" not in name and "user" not in name:
        return arguments
    at = arguments.index(name)
    return [*arguments[: at + 2], *["***"] * len(arguments[at + 2 :])]


def _split(arguments: list[str]) -> tuple[dict[str, str], list[str]]:
    """Split a command line into the options that all commands have, and the rest, the command first."""
    given: dict[str, str] = {}
    words: list[str] = []
    at = 0
    while at < len(arguments):
        word = arguments[at]
        at += 1
        if word == "--":
            words += arguments[at:]
            break
        key, equals, value = word.partition("=")
        if words and (words[0], word) in _OWN:
            words.append(word)
        elif word in _SWITCHES:
            given[_SWITCHES[word]] = "true"
        elif key in _OPTIONS and key.startswith("--") and equals:
            given[_OPTIONS[key]] = value
        elif word in _OPTIONS and at < len(arguments):
            given[_OPTIONS[word]] = arguments[at]
            at += 1
        else:
            words.append(word)
    return given, words


def _call(tool: str, name: str, command: Command, given: dict[str, str], words: list[str]) -> Call:
    positional, options = _own(command, words)
    if len(positional) < command.least:
        raise Invalid("not enough arguments.")
    if len(positional) > command.most:
        raise Invalid("too many arguments.")
    formatter = given.get("formatter", "")
    if formatter and formatter not in FORMATTERS:
        raise Invalid(f"formatter '{formatter}' is not supported")
    try:
        timeout = float(given.get("timeout", "0").replace("infinity", "0"))
    except ValueError:
        raise Invalid(f"timeout '{given['timeout']}' is no number") from None
    if "file" in given:
        options["file"] = given["file"]
    seconds = timeout or 60.0
    return Call(
        tool,
        name,
        Api(given["url"], seconds) if given.get("url") else default_api(os.environ, seconds),
        positional,
        options,
        given.get("vhost", "/"),
        "vhost" in given,
        "quiet" in given,
        "silent" in given,
        formatter,
        "no-table-headers" not in given,
        timeout,
    )


def _own(command: Command, words: list[str]) -> tuple[list[str], dict[str, str]]:
    """Tell the options of a command from its positional arguments."""
    positional: list[str] = []
    options: dict[str, str] = {}
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        key, equals, value = word.partition("=")
        key = command.short.get(key, key)
        name = key.removeprefix("--")
        if not key.startswith("--") or key == "--":
            positional.append(word)
        elif name in command.switches and not equals:
            options[name] = "true"
        elif name in command.options and equals:
            options[name] = value
        elif name in command.options and at < len(words):
            options[name] = words[at]
            at += 1
        else:
            raise Invalid(f"Invalid options for this command: {word}")
    return positional, options


def find(name: str, tool: str) -> Command | None:
    """Find a command of a tool; only plugins are not for all of them."""
    for module in MODULES:
        if (module == "plugins") != (tool == "rabbitmq-plugins"):
            continue
        commands: dict[str, Command] = import_module(f"harebell.cli.ctl.{module}").COMMANDS
        if name in commands:
            return commands[name]
    return None


def names(tool: str) -> list[str]:
    """List the commands of a tool."""
    chosen = [one for one in MODULES if (one == "plugins") == (tool == "rabbitmq-plugins")]
    return sorted(name for one in chosen for name in import_module(f"harebell.cli.ctl.{one}").COMMANDS)


def _usage(tool: str, name: str, command: Command) -> str:
    parts = [tool, "[--node <node>] [--timeout <timeout>] [--quiet] [--vhost <vhost>]", name, command.usage]
    parts += [f"[--{one}]" for one in command.switches]
    parts += [f"[--{one} <{one}>]" for one in command.options]
    return "Usage: " + " ".join(filter(None, parts))


def _help(tool: str, name: str) -> int:
    if not name:
        print(
            f"Usage: {tool} [--node <node>] [--timeout <timeout>] [--quiet] <command> [<command options>]\n"
        )
        print("Available commands:\n")
        for one in names(tool):
            command = find(one, tool)
            assert command is not None
            print(f"   {one:32} {(command.handler.__doc__ or '').partition('.')[0].strip()}")
        print("\nThese go over the HTTP API; --url or HAREBELL_URL say where it is.")
        return OK
    command = find(name, tool)
    if command is None:
        print(f"\nCommand '{name}' not found. \n", file=sys.stderr)
        return USAGE
    print(f"{_usage(tool, name, command)}\n\n{command.handler.__doc__ or ''}")
    return OK


def _version(tool: str, name: str) -> int:
    if name == "version":
        print(__version__)
        return OK
    _help(tool, "")
    return USAGE
