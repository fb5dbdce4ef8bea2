"""The ``harebell`` command. Each subcommand is a module of its own, imported only when it is called."""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and end the process with its exit code.

    Args:
        arguments: what follows ``harebell``; those of the process when absent.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["healthcheck"]:
        # Run every few seconds by containers: it must not pay for importing click.
        from harebell.cli import healthcheck

        sys.exit(healthcheck.main(given[1:]))
    if given[:1] == ["ctl"]:
        # Probes written for RabbitMQ come this way as often.
        from harebell.cli.ctl.main import run as run_ctl

        sys.exit(run_ctl(given[1:], "harebell ctl"))
    from harebell.cli.group import run

    sys.exit(run(given))
