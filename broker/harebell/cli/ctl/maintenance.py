"""Limits of alarms, listeners, draining and the log of a running node, in the words of RabbitMQ's tools."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from harebell.cli.api import ApiError
from harebell.cli.ctl.call import Call, Command, Invalid
from harebell.cli.exits import DATA, USAGE

ABSOLUTE = "absolute"
RELATIVE = "mem_relative"
LOOK_EVERY = 0.5
"""Seconds between two looks at a log that is followed."""


def set_vm_memory_high_watermark(call: Call) -> int | None:
    """Sets at how much memory publishers are blocked, until the broker starts anew."""
    first = call.arguments[0]
    value = _second(call, (ABSOLUTE,))
    if value is not None:
        _put(call, "memory-limit", ABSOLUTE, value, f"memory threshold on {call.node} to {value} bytes")
        return None
    fraction = _number(first)
    if not 0 <= fraction <= 1:
        text = "Bad argument: The threshold should be a fraction between 0.0 and 1.0"
        raise Invalid(text, DATA)
    _put(call, "memory-limit", "fraction", fraction, f"memory threshold on {call.node} to {first}")
    return None


def set_disk_free_limit(call: Call) -> int | None:
    """Sets below how much free disk space publishers are blocked, until the broker starts anew."""
    first = call.arguments[0]
    value = _second(call, (RELATIVE,))
    if value is None:
        _put(call, "disk-limit", ABSOLUTE, first, f"disk free limit on {call.node} to {first} bytes")
        return None
    fraction = _number(value)
    if fraction < 0:
        raise Invalid("Bad argument.", DATA)
    what = f"disk free limit on {call.node} to {value} times the total RAM"
    _put(call, "disk-limit", RELATIVE, fraction, what)
    return None


def _second(call: Call, words: tuple[str, ...]) -> str | None:
    """Give what follows one of some words; None if another value stands alone.

    Raises:
        Invalid: one is missing, or one too many.
    """
    named = call.arguments[0] in words
    if named and len(call.arguments) < 2:
        raise Invalid("not enough arguments.", USAGE)
    if not named and len(call.arguments) > 1:
        raise Invalid("too many arguments.", USAGE)
    return call.arguments[1] if named else None


def _number(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        raise Invalid("Bad argument.", DATA) from None
    # What is no number is less than none.
    return found if found == found else -1.0


def _put(call: Call, what: str, key: str, value: object, said: str) -> None:
    try:
        call.api.put("x", what, body={key: value})
    except ApiError as error:
        if error.status != 400:
            raise
        raise Invalid("Bad argument.", DATA) from None
    call.banner(f"Setting {said} ...")


def suspend_listeners(call: Call) -> int | None:
    """Closes the listeners for AMQP clients; connections and the HTTP API stay."""
    node = call.node
    call.banner(
        f"Will suspend client connection listeners on node {node}. "
        "The node will no longer accept client connections!"
    )
    call.api.post("x", "maintenance", "suspend-listeners", body={"node": node})
    return None


def resume_listeners(call: Call) -> int | None:
    """Opens the listeners for AMQP clients again."""
    call.banner(
        f"Will resume client connection listeners on node {call.node}. "
        "The node will now accept client connections"
    )
    call.api.post("x", "maintenance", "resume-listeners")
    return None


def drain(call: Call) -> int | None:
    """Puts the node into maintenance mode: listeners are closed, connections too, bit by bit."""
    from harebell.cli.maintenance import drain_node

    node = call.node
    call.banner(
        f"Will put node {node} into maintenance mode. The node will no longer serve any client traffic!"
    )
    spread = call.options.get("spread")
    seconds = None if spread is None else _seconds(spread)
    drain_node(call.api, node, seconds, "no-wait" not in call.options, call.timeout)
    return None


def revive(call: Call) -> int | None:
    """Ends maintenance mode: clients are served again."""
    call.banner(
        f"Will put node {call.node} back into regular operating mode. "
        "The node will again serve client traffic and host primary queue replicas."
    )
    call.api.post("x", "maintenance", "revive")
    return None


def stop_app(call: Call) -> int | None:
    """Stops serving clients, as drain does; the process, the HTTP API and the data stay."""
    from harebell.cli.maintenance import drain_node

    node = call.node
    call.banner(f"Stopping rabbit application on node {node} ...")
    drain_node(call.api, node, 0.0, True, call.timeout)
    return None


def start_app(call: Call) -> int | None:
    """Serves clients again after stop_app, as revive does."""
    call.banner(f"Starting node {call.node} ...")
    call.api.post("x", "maintenance", "revive")
    return None


def log_tail(call: Call) -> int | None:
    """Prints the last lines of the log."""
    text = call.options.get("number", "50")
    if not text.isdecimal() or len(text) > 9:
        raise Invalid(f"Invalid options for this command: --number : {text}", USAGE)
    call.banner(f"Last {text} log lines on node {call.node} ...")
    found = call.api.get("x", "log", query={"lines": min(int(text), 1000)})
    _print(call, found["lines"])
    return None


def _print(call: Call, lines: list[str]) -> None:
    if call.formatter in ("json", "csv"):
        call.rows([{"message": line} for line in lines], ("message",))
    elif lines:
        print("\n".join(lines), flush=True)


def log_tail_stream(call: Call) -> int | None:
    """Prints what is logged from now on, for some time or until it is interrupted."""
    text = call.options.get("duration", "infinity")
    seconds = float("inf") if text == "infinity" else _seconds(text)
    call.banner(f"Streaming logs from node {call.node} for {text} seconds ...")
    for lines in follow(call.api, seconds):
        if lines:
            print("\n".join(lines), flush=True)
    return None


def follow(api: Any, seconds: float, lines: int = 0) -> Iterator[list[str]]:
    """Give the last lines of the log, and then new ones as they come.

    Args:
        api: the broker's.
        seconds: for how long.
        lines: how many to begin with.
    """
    end = time.monotonic() + seconds
    found = api.get("x", "log", query={"lines": lines})
    while True:
        yield found["lines"]
        wait = min(LOOK_EVERY, end - time.monotonic())
        if wait <= 0:
            return
        time.sleep(wait)
        found = api.get("x", "log", query={"lines": 1000, "after": found["last"]})


def _seconds(text: str) -> float:
    found = _number(text)
    if found < 0:
        raise Invalid("Bad argument.", DATA)
    return found


COMMANDS = {
    "set_vm_memory_high_watermark": Command(set_vm_memory_high_watermark, "<fraction>|absolute [<value>]"),
    "set_disk_free_limit": Command(set_disk_free_limit, "<disk_limit>|mem_relative [<fraction>]"),
    "suspend_listeners": Command(suspend_listeners),
    "resume_listeners": Command(resume_listeners),
    "drain": Command(drain, switches=("no-wait",), options=("spread",)),
    "revive": Command(revive),
    "stop_app": Command(stop_app),
    "start_app": Command(start_app),
    "log_tail": Command(log_tail, options=("number",), short={"-N": "--number"}),
    "log_tail_stream": Command(log_tail_stream, options=("duration",), short={"-d": "--duration"}),
}
