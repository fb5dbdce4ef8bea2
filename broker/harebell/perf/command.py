"""The command ``harebell perf``."""

import asyncio
import gc
import json
import signal
import sys
from typing import Any

import click

from harebell.perf.errors import OptionError, PerfError
from harebell.perf.options import (
    DEAD_LETTERS,
    EXCHANGE_TYPES,
    Options,
    parse_ack,
    parse_argument,
    parse_range,
)
from harebell.perf.progress import ProgressLine
from harebell.perf.scenarios import BY_NAME
from harebell.perf.summary import Summary, as_json, as_text, scenario_help
from harebell.perf.url import parse_url
from harebell.perf.workload import Workload

_INTERRUPTED = 130

_EPILOG = f"""\b
Scenarios (options given beside --scenario win):
{scenario_help()}

\b
Examples:
  harebell perf --scenario ack-each --duration 10
  harebell perf --publishers 4 --consumers 4 --queues 4 --size 1024 --confirm 500
  harebell perf --url amqp://user:secret@10.0.0.5/%2Fproduction --rate 5000 --json

Latency is taken from the moment a block of publishes is handed to the socket, by a stamp in the body:
publishers and consumers must be in the same run. A rate limit is kept by a clock of 1 ms, so 5,000 messages
a second are 5 every millisecond. Only queues and exchanges that the run created are deleted.
"""


@click.command(
    "perf",
    short_help="Load any AMQP 0-9-1 broker and measure it.",
    epilog=_EPILOG,
    context_settings={"max_content_width": 110, "help_option_names": ["-h", "--help"]},
)
@click.option("--scenario", type=click.Choice(list(BY_NAME)), help="A standard scenario, listed below.")
@click.option(
    "--url", default="amqp://guest:guest@127.0.0.1:5672/", show_default=True, help="amqp:// or amqps://."
)
@click.option("--publishers", "-p", default=1, show_default=True, help="Publishing connections.")
@click.option("--consumers", "-c", default=1, show_default=True, help="Consuming connections.")
@click.option("--queues", default=1, show_default=True, help="Queues.")
@click.option("--queue", metavar="NAME", help="Name of the queue; with --queues N, of NAME-1 to NAME-N.")
@click.option("--exchange", metavar="NAME", help="Publish to this exchange. Default: the default exchange.")
@click.option("--type", "type", type=click.Choice(EXCHANGE_TYPES), help="Its type.  [default: direct]")
@click.option("--routing-key", metavar="KEY", help="Bind every queue with, and publish with, this key.")
@click.option("--size", "-s", default=100, show_default=True, help="Octets of a body.")
@click.option("--persistent", is_flag=True, help="Delivery mode 2.")
@click.option("--durable", is_flag=True, help="Durable queues and exchange.")
@click.option("--priority", metavar="N|MIN-MAX", help="Priority of each message, a random one of these.")
@click.option("--expiration", metavar="MS|MIN-MAX", help="Expiration of each message, a random one of these.")
@click.option("--mandatory", is_flag=True, help="Publish mandatory and count what is returned.")
@click.option("--confirm", default=0, metavar="WINDOW", help="Confirms, at most WINDOW outstanding.")
@click.option("--ack", default="auto", show_default=True, metavar="MODE", help="auto, each, or multiple:N.")
@click.option(
    "--prefetch", "-q", default=0, metavar="N", help="Deliveries not yet acknowledged, 0 for no limit."
)
@click.option("--rate", default=0.0, metavar="MSG/S", help="Publishes a second in all.  [default: no limit]")
@click.option(
    "--in-flight", default=0, metavar="N", help="Publish at most N ahead of the consumers, 0 for no limit."
)
@click.option("--duration", "-d", type=float, metavar="S", help="Measure so long.  [default: 10]")
@click.option("--count", "-n", type=int, metavar="N", help="Publish N messages in all and wait for them.")
@click.option("--warmup", default=0.0, metavar="S", help="Run so long before measuring.")
@click.option("--queue-args", multiple=True, metavar="K=V", help="Argument of queue.declare; repeatable.")
@click.option("--consume-args", multiple=True, metavar="K=V", help="Argument of basic.consume; repeatable.")
@click.option(
    "--dead-letters",
    type=click.Choice(DEAD_LETTERS),
    help="Consume from a dead-letter queue what the queue drops, or what a connection of its own rejects.",
)
@click.option("--heartbeat", default=60, show_default=True, metavar="S", help="Proposed, 0 for none.")
@click.option("--latency/--no-latency", default=True, help="Stamp bodies and measure latency.  [default: on]")
@click.option(
    "--ordered", is_flag=True, help="Number messages; consumers, of this run or another, count disorder."
)
@click.option("--interval", default=1.0, show_default=True, metavar="S", help="Progress every S, 0 for none.")
@click.option("--json", "json_output", is_flag=True, help="Print the summary as one JSON object.")
@click.pass_context
def perf(context: click.Context, /, **given: Any) -> None:
    """Load any AMQP 0-9-1 broker and measure it.

    Publishers and consumers run in this one process, one connection each. Progress goes to standard error,
    the summary to standard output. Ctrl-C ends the run early with the summary of what happened so far.
    """
    try:
        options = options_from(context)
    except OptionError as error:
        raise click.UsageError(str(error), context) from error
    try:
        summary, failure = run(options, given["interval"])
    except PerfError as error:
        raise click.ClickException(str(error)) from error
    click.echo(json.dumps(as_json(summary)) if given["json_output"] else as_text(summary))
    if failure is not None:
        raise click.ClickException(str(failure))
    if summary.ended == "interrupted":
        context.exit(_INTERRUPTED)


def options_from(context: click.Context) -> Options:
    """Return the checked options of a command line, given ones over the scenario's. Raises OptionError."""
    values = dict(context.params)
    for name in ("interval", "json_output"):
        del values[name]
    scenario = BY_NAME.get(values.pop("scenario") or "")
    if scenario is not None:
        for name, value in scenario.settings.items():
            if context.get_parameter_source(name) is click.core.ParameterSource.DEFAULT:
                values[name] = value
    values["url"] = parse_url(values["url"])
    values["ack_every"] = parse_ack(values.pop("ack"))
    values["exchange_type"] = values.pop("type")
    for name in ("queue_args", "consume_args"):
        option = f"--{name.replace('_', '-')}"
        values[name] = dict(parse_argument(option, text) for text in values[name])
    for name in ("priority", "expiration"):
        if values[name] is not None:
            values[name] = parse_range(f"--{name}", values[name])
    options = Options(**values)
    options.check()
    return options


def run(options: Options, interval: float) -> tuple[Summary, PerfError | None]:
    """Run once on a loop of its own, uvloop where there is one. Raises PerfError if it cannot start."""
    progress = ProgressLine(sys.stderr)
    workload = Workload(options, interval, progress.show)

    async def main() -> tuple[Summary, PerfError | None]:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(workload.execute())

        def interrupt() -> None:
            if not workload.interrupt():
                task.cancel()

        if sys.platform != "win32":
            loop.add_signal_handler(signal.SIGINT, interrupt)
            loop.add_signal_handler(signal.SIGTERM, interrupt)
        try:
            return await task
        except asyncio.CancelledError:
            raise PerfError("interrupted") from None

    gc.freeze()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(main())
    finally:
        gc.unfreeze()
        progress.finish()


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
