"""The group of commands: knows each by name and one line of help, and imports it when it is used."""

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import NamedTuple

import click

from harebell import __version__
from harebell.cli.exits import INTERRUPTED, OK, USAGE, Failure, report


class Entry(NamedTuple):
    """Where a command is and what ``harebell --help`` says of it."""

    target: str
    help: str


COMMANDS = {
    "serve": Entry("harebell.cli.serve:serve", "Run the broker."),
    "config": Entry("harebell.cli.config:config", "Check, show or print the configuration."),
    "healthcheck": Entry("harebell.cli.group:healthcheck", "Ask a broker whether it takes connections."),
    "journal": Entry(
        "harebell.cli.journal:journal", "Inspect, verify or repair the journal of a stopped broker."
    ),
    "perf": Entry("harebell.perf.command:perf", "Load any AMQP 0-9-1 broker and measure it."),
    "version": Entry("harebell.cli.version:version", "Say what is installed, and whether it is compiled."),
}


class LazyGroup(click.Group):
    """A group whose commands come from the table above."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].target.partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            close = get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"No such command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`harebell COMMAND --help` explains a command. `harebell serve` alone is a broker on port 5672.",
)
@click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s")
def harebell() -> None:
    """A message broker for AMQP 0-9-1 that stock RabbitMQ clients use unchanged."""


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def healthcheck(arguments: tuple[str, ...]) -> int:
    """Hand over to the command that does without click; ``main()`` calls it directly when it comes first."""
    from harebell.cli import healthcheck as without_click

    return without_click.main(arguments)


def run(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
        arguments: what follows ``harebell`` on the command line.

    Returns:
        The exit code: that of the command, or 64 for arguments it does not take.
    """
    try:
        result = harebell.main(list(arguments), prog_name="harebell", standalone_mode=False)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "harebell"
        report(f"{error.format_message()} (try '{path} --help')")
        return USAGE
    except click.ClickException as error:
        report(error.format_message())
        return error.exit_code
    except Failure as error:
        report(str(error))
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:  # `harebell config default | head`
        sys.stderr.close()
        return OK
    return result if isinstance(result, int) else OK
