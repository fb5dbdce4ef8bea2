"""The group of commands: knows each by name and one line of help, and imports it when it is used."""

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import NamedTuple

import click

from harebell import __version__
from harebell.cli.exits import INTERRUPTED, IO_FAILED, OK, OUTPUT_ERRORS, USAGE, Failure, report
from harebell.cli.options import connection_options, quiet_option


class Entry(NamedTuple):
    """Where a command is and what ``harebell --help`` says of it."""

    target: str
    help: str


SECTIONS = {
    "Broker": {
        "serve": Entry("harebell.cli.serve:serve", "Run the broker."),
        "healthcheck": Entry("harebell.cli.group:healthcheck", "Ask a broker whether it takes connections."),
        "health": Entry("harebell.cli.health:health", "Make a broker's own checks: alarms, listeners, more."),
        "status": Entry("harebell.cli.status:status", "Show how a broker is."),
        "top": Entry("harebell.cli.top:top", "Watch the busiest queues."),
        "doctor": Entry(
            "harebell.cli.doctor:doctor", "Look for what makes this machine's broker slow or stops it."
        ),
        "log-level": Entry("harebell.cli.node:log_level", "Show or change how much a broker logs."),
        "audit": Entry("harebell.cli.node:audit", "List who did what over the HTTP API."),
        "alarms": Entry("harebell.cli.maintenance:alarms", "Show alarms, change when they come up."),
        "listeners": Entry("harebell.cli.maintenance:listeners", "List listeners, suspend, resume them."),
        "log": Entry("harebell.cli.maintenance:log", "Print the last lines of a broker's log."),
        "drain": Entry("harebell.cli.maintenance:drain", "Take a broker out of service, bit by bit."),
        "revive": Entry("harebell.cli.maintenance:revive", "Put a drained broker back into service."),
        "stop": Entry("harebell.cli.node:stop", "Stop a broker in good order."),
    },
    "Queues and messages": {
        "queues": Entry("harebell.cli.dead_letters:queues", "List, declare, purge, peek, redrive queues."),
        "exchanges": Entry("harebell.cli.topology:exchanges", "List, declare, delete exchanges."),
        "delayed": Entry("harebell.cli.delayed:delayed", "List delayed messages, cancel or deliver them."),
        "messages": Entry("harebell.cli.browsing:messages", "Browse messages; delete, move, retry one."),
        "bindings": Entry("harebell.cli.topology:bindings", "List, make, remove bindings."),
        "streams": Entry("harebell.cli.streams:streams", "Read streams, see how far readers are behind."),
        "schemas": Entry("harebell.cli.schemas:schemas", "Register schemas of messages, try messages."),
        "publish": Entry("harebell.cli.messages:publish", "Publish messages."),
        "get": Entry("harebell.cli.messages:get", "Take messages out of a queue and print them."),
        "tail": Entry("harebell.cli.messages:tail", "Print what is published to an exchange from now on."),
        "connections": Entry("harebell.cli.connections:connections", "List and close client connections."),
        "channels": Entry("harebell.cli.connections:channels", "List channels."),
        "consumers": Entry("harebell.cli.connections:consumers", "List consumers."),
    },
    "Access and configuration": {
        "vhosts": Entry("harebell.cli.vhosts:vhosts", "List, add, delete virtual hosts."),
        "users": Entry("harebell.cli.users:users", "List, add, change, delete users."),
        "permissions": Entry("harebell.cli.permissions:permissions", "Say what users may do."),
        "topic-permissions": Entry(
            "harebell.cli.permissions:topic_permissions", "Say which routing keys users may use."
        ),
        "policies": Entry("harebell.cli.policies:policies", "Set arguments of queues and exchanges by name."),
        "operator-policies": Entry(
            "harebell.cli.policies:operator_policies", "Set policies that win over others."
        ),
        "limits": Entry("harebell.cli.vhosts:limits", "Limit virtual hosts."),
        "parameters": Entry("harebell.cli.policies:parameters", "Set runtime parameters."),
        "definitions": Entry("harebell.cli.definitions:definitions", "Export, import, compare definitions."),
    },
    "This machine": {
        "config": Entry("harebell.cli.config:config", "Check, show or print the configuration."),
        "journal": Entry(
            "harebell.cli.journal:journal", "Inspect, verify or repair the journal of a stopped broker."
        ),
        "perf": Entry("harebell.perf.command:perf", "Load any AMQP 0-9-1 broker and measure it."),
        "hash-password": Entry("harebell.cli.hash_password:hash_password", "Print the hash of a password."),
        "tls": Entry("harebell.cli.tls:tls", "Make a certificate to try TLS with."),
        "completion": Entry("harebell.cli.completion:completion", "Print a script that completes commands."),
        "version": Entry(
            "harebell.cli.version:version", "Say what is installed, and whether it is compiled."
        ),
    },
    "Scripts written for RabbitMQ": {
        "ctl": Entry(
            "harebell.cli.group:ctl", "The commands of rabbitmqctl, rabbitmq-diagnostics and others."
        ),
        "admin": Entry("harebell.cli.group:admin", "The commands of rabbitmqadmin."),
    },
}
COMMANDS = {name: entry for section in SECTIONS.values() for name, entry in section.items()}
ALIASES = {
    "health-check": "health",
    "diagnostics": "health",
    "overview": "status",
    "stream": "streams",
    "show": "status",
    "logs": "log",
    "bench": "perf",
}
"""Names people try, beside those of the commands."""


class LazyGroup(click.Group):
    """A group whose commands come from the table above."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        cmd_name = ALIASES.get(cmd_name, cmd_name)
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].target.partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = {**COMMANDS, **ALIASES}
        if args and args[0] not in known and not args[0].startswith("-"):
            close = get_close_matches(args[0], known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"No such command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, section in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, entry.help) for name, entry in section.items()], col_max=20)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`harebell COMMAND --help` explains a command. `harebell serve` alone is a broker on port 5672.",
)
@connection_options
@quiet_option
@click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s")
def harebell() -> None:
    """A message broker for AMQP 0-9-1 that stock RabbitMQ clients use unchanged.

    Commands about a running broker go over its HTTP API: that of this machine, or where --url or HAREBELL_URL
    say (http://user:password@host:15672). The account that runs the broker, and root, need no password here.
    """


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def healthcheck(arguments: tuple[str, ...]) -> int:
    """Hand over to the command that does without click; ``main()`` calls it directly when it comes first."""
    from harebell.cli import healthcheck as without_click

    return without_click.main(arguments)


PASSED_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []}


def _ctl_names(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    from harebell.cli.ctl.main import names

    return [name for name in names("rabbitmqctl") if name.startswith(incomplete)]


@click.command(context_settings=PASSED_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, shell_complete=_ctl_names)
def ctl(arguments: tuple[str, ...]) -> int:
    """Hand over to the commands of rabbitmqctl, which do without click."""
    from harebell.cli.ctl.main import run as without_click

    return without_click(arguments, "harebell ctl")


@click.command(context_settings=PASSED_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def admin(arguments: tuple[str, ...]) -> int:
    """Hand over to the commands of rabbitmqadmin."""
    from harebell.cli.admin import run as as_rabbitmqadmin

    return as_rabbitmqadmin(arguments)


def run(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
        arguments: what follows ``harebell`` on the command line.

    Returns:
        The exit code: that of the command, or 64 for arguments it does not take.
    """
    try:
        result = harebell.main(list(arguments), prog_name="harebell", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return USAGE
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
    except OSError as error:
        if error.filename is not None or error.errno not in OUTPUT_ERRORS:
            raise
        report(f"the output cannot be written: {error.strerror}")
        # What is left in the buffer would be tried again at the end of the process, and change its exit code.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)
        return IO_FAILED
    return result if isinstance(result, int) else OK
