"""``harebell serve``: load the settings, set up logging, run a node until a signal stops it."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from harebell import compiled, logs
from harebell.cli.banner import banner
from harebell.cli.exits import CONFIG, CRASHED, Failure, failure_of
from harebell.settings import Loaded, Settings, SettingsError, load

# Seconds in which a second signal is taken for the first one again: make, or a supervisor that signals the
# whole process group, delivers one wish to stop twice.
SAME_SIGNAL = 0.5

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


@click.command(short_help="Run the broker.")
@click.option("-c", "--config", type=click.Path(path_type=Path), metavar="FILE", help="Configuration file.")
@click.option(
    "-b",
    "--bind",
    multiple=True,
    metavar="ADDRESS",
    help="Address to listen on, if need be with a port; may be repeated. By default this machine only.",
)
@click.option("-p", "--port", type=click.IntRange(0, 65535), help="AMQP port (5672); 0 takes any free one.")
@click.option(
    "-D", "--data-dir", type=click.Path(path_type=Path), metavar="DIR", help="Folder for durable state."
)
@click.option("--in-memory", is_flag=True, help="Keep everything in memory and touch no disk.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error", "critical"], case_sensitive=False),
    help="Least severe level that is logged (info).",
)
@click.option(
    "--log-format",
    type=click.Choice(["auto", "text", "json"], case_sensitive=False),
    help="Form of log lines; auto is text on a terminal and JSON otherwise.",
)
@click.option(
    "--ports-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the ports that are listened on to this file as JSON: for port 0.",
)
def serve(
    config: Path | None,
    bind: tuple[str, ...],
    port: int | None,
    data_dir: Path | None,
    in_memory: bool,
    log_level: str | None,
    log_format: str | None,
    ports_file: Path | None,
) -> int:
    """Run the broker until SIGTERM or Ctrl-C.

    Options win over environment variables, and those over the configuration file; `harebell config show
    --origin` tells what comes from where. Without any, clients on this machine connect to
    amqp://guest:guest@127.0.0.1:5672/.
    """
    options: dict[str, tuple[Any, str]] = {}
    given = (
        ("server.bind", bind or None, "--bind"),
        ("server.port", port, "--port"),
        ("storage.data_dir", data_dir, "--data-dir"),
        ("storage.in_memory", in_memory or None, "--in-memory"),
        ("log.level", log_level, "--log-level"),
        ("log.format", log_format, "--log-format"),
    )
    for key, value, option in given:
        if value is not None:
            options[key] = (value, option)
    try:
        loaded = load(config=config, options=options)
    except SettingsError as error:
        raise Failure(str(error), CONFIG) from None
    return run_node(loaded, ports_file)


def run_node(loaded: Loaded, ports_file: Path | None) -> int:
    """Run a node in a new event loop.

    Args:
        loaded: the settings and the remarks to log about them.
        ports_file: where the node writes its ports, if anywhere.

    Returns:
        The exit code: 0 after a graceful stop.

    Raises:
        Failure: a port is taken, the data folder cannot be used.
    """
    settings = loaded.settings
    logs.set_up(settings.log.level, settings.log.format)
    log = logs.get_logger("node")
    log.info("config file(s): " + (", ".join(map(str, loaded.files)) or "(none)"))
    for notice in loaded.notices:
        (log.warning if notice.level == "warning" else log.info)(notice.text)
    factory, loop_name = choose_loop(settings.server.loop)
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(_serve(settings, ports_file, loop_name))
    except Exception as error:
        failure = failure_of(error, settings.server.listeners())
        if failure is None:
            log.critical("the node stopped on an unexpected error", exc_info=True)
            return CRASHED
        raise failure from None


def choose_loop(wanted: str) -> tuple[LoopFactory | None, str]:
    """Return a factory for event loops (None for asyncio's own) and the name of the kind.

    Args:
        wanted: the setting ``server.loop``.

    Raises:
        Failure: uvloop is demanded and not installed.
    """
    if wanted != "asyncio":
        try:
            import uvloop
        except ImportError:
            if wanted == "uvloop":
                raise Failure("server.loop is 'uvloop', which is not installed here", CONFIG) from None
        else:
            return uvloop.new_event_loop, "uvloop"
    return None, "asyncio"


async def _serve(settings: Settings, ports_file: Path | None, loop_name: str) -> int:
    from harebell import node

    stop = asyncio.Event()
    _on_signals(asyncio.get_running_loop(), stop)
    show = partial(_show_banner, settings, loop_name)
    return await node.run(settings, ports_file=ports_file, shutdown_trigger=stop, banner=show)


def _show_banner(
    settings: Settings, loop_name: str, addresses: Sequence[tuple[str, int]], data: Path | None
) -> None:
    """Write the banner to the error output, so that the standard output holds log lines only."""
    colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    text = banner(settings, addresses, data, hot_path=compiled.summary(), loop=loop_name, colour=colour)
    print(text, file=sys.stderr, flush=True)


def _on_signals(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Let the first SIGTERM or SIGINT stop the node gracefully and a second one end the process at once."""
    first = 0.0

    def on_signal() -> None:
        nonlocal first
        if not stop.is_set():
            first = loop.time()
            stop.set()
        elif loop.time() - first > SAME_SIGNAL:
            print("harebell: second signal, stopping at once", file=sys.stderr, flush=True)
            os._exit(CRASHED)

    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, on_signal)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(on_signal))
