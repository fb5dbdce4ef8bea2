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
from harebell.administration.host import Listener
from harebell.cli.banner import banner
from harebell.cli.exits import CONFIG, CRASHED, Failure, failure_of
from harebell.settings import Loaded, Settings, SettingsError, load

# Seconds in which a second signal is taken for the first one again: make, or a supervisor that signals the
# whole process group, delivers one wish to stop twice.
SAME_SIGNAL = 0.5

PORT = click.IntRange(0, 65535)
FILE = click.Path(path_type=Path, dir_okay=False)

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
@click.option("-p", "--port", type=PORT, help="AMQP port (5672); 0 takes any free one.")
@click.option("--tls-port", type=PORT, help="AMQP port for TLS (5671), if a certificate is named.")
@click.option("--tls-cert", type=FILE, metavar="FILE", help="Certificate of the broker, in PEM form.")
@click.option("--tls-key", type=FILE, metavar="FILE", help="Its private key, if it is in another file.")
@click.option("--tls-ca", type=FILE, metavar="FILE", help="Authorities of client certificates.")
@click.option("--management-port", type=PORT, help="HTTP API port (15672).")
@click.option("--metrics-port", type=PORT, help="Metrics port (15692).")
@click.option(
    "--definitions",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Definitions to import at start: JSON as RabbitMQ exports it, or a folder of it.",
)
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
    tls_port: int | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_ca: Path | None,
    management_port: int | None,
    metrics_port: int | None,
    definitions: Path | None,
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
        ("tls.port", tls_port, "--tls-port"),
        ("tls.certificate", tls_cert, "--tls-cert"),
        ("tls.key", tls_key, "--tls-key"),
        ("tls.ca", tls_ca, "--tls-ca"),
        ("management.port", management_port, "--management-port"),
        ("metrics.port", metrics_port, "--metrics-port"),
        ("management.load_definitions", definitions, "--definitions"),
        ("storage.data_dir", data_dir, "--data-dir"),
        ("storage.in_memory", in_memory or None, "--in-memory"),
        ("log.level", log_level, "--log-level"),
        ("log.format", log_format, "--log-format"),
    )
    for key, value, option in given:
        if value is not None:
            options[key] = (value, option)
    read = partial(load, config=config, options=options)
    try:
        loaded = read()
    except SettingsError as error:
        raise Failure(str(error), CONFIG) from None
    return run_node(loaded, ports_file, read)


def run_node(loaded: Loaded, ports_file: Path | None, read: Callable[[], Loaded] | None = None) -> int:
    """Run a node in a new event loop.

    Args:
        loaded: the settings and the remarks to log about them.
        ports_file: where the node writes its ports, if anywhere.
        read: reads the settings again, for SIGHUP.

    Returns:
        The exit code: 0 after a graceful stop.

    Raises:
        Failure: a port is taken, the data folder cannot be used.
    """
    settings = loaded.settings
    section = settings.log
    write_logs = partial(logs.set_up, section.level, section.format, levels=section.category_levels())
    log = logs.get_logger("node")
    try:
        write_logs(file=section.file)
    except OSError as error:
        # Settings made for RabbitMQ may name a file of its container; clients are worth more than it.
        write_logs()
        log.error(f"log.file: {section.file}: {error.strerror or error}: logs go to the standard output")
    sys.unraisablehook = _log_unraisable
    log.info("config file(s): " + (", ".join(map(str, loaded.files)) or "(none)"))
    for notice in loaded.notices:
        (log.warning if notice.level == "warning" else log.info)(notice.text)
    factory, loop_name = choose_loop(settings.server.loop)
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(_serve(settings, ports_file, loop_name, read))
    except Exception as error:
        failure = failure_of(error, settings.server.listeners())
        if failure is None:
            log.critical("the node stopped on an unexpected error", exc_info=True)
            return CRASHED
        raise failure from None


def _log_unraisable(error: "sys.UnraisableHookArgs") -> None:
    """Write what nobody could handle as a line of the log: a bad server name in TLS can bring it about."""
    logs.get_logger("node").warning(f"ignored: {error.exc_value!r} in {error.object!r}"[:500])


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


async def _serve(
    settings: Settings, ports_file: Path | None, loop_name: str, read: Callable[[], Loaded] | None
) -> int:
    from harebell import node
    from harebell.cli.reload import Reload, on_signals
    from harebell.server.systemd import Notifier

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    _on_signals(loop, stop)
    notifier = Notifier(os.environ)
    reload = Reload(notifier, read)
    on_signals(loop, reload, stop.set)
    return await node.run(
        settings,
        ports_file=ports_file,
        shutdown_trigger=stop,
        banner=partial(_show_banner, settings, loop_name),
        notifier=notifier,
        started=reload.started,
    )


def _show_banner(
    settings: Settings, loop_name: str, listeners: Sequence[Listener], data: Path | None
) -> None:
    """Write the banner to the error output, so that the standard output holds log lines only."""
    colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    text = banner(settings, listeners, data, hot_path=compiled.summary(), loop=loop_name, colour=colour)
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
