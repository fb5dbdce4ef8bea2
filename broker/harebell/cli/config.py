"""``harebell config``: check a configuration without starting, show what is in force, print the documents."""

from pathlib import Path

import click

from harebell.cli.exits import CONFIG, Failure, report
from harebell.settings import Loaded, SettingsError, load

_FILE = click.option(
    "-c",
    "--config",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The file to use instead of looking for one; a name in .conf is read as rabbitmq.conf.",
)


@click.group(short_help="Check, show or print the configuration.")
def config() -> None:
    """Check, show or print the configuration."""


@config.command()
@_FILE
def check(file: Path | None) -> None:
    """Say whether the configuration can be used, and if not, everything that is wrong with it."""
    try:
        loaded = load(config=file)
    except SettingsError as error:
        for problem in error.problems[:-1]:
            report(problem)
        raise Failure(error.problems[-1], CONFIG) from None
    for notice in loaded.notices:
        click.echo(f"{notice.level}: {notice.text}")
    read = ", ".join(str(path) for path in loaded.files) or "no file found"
    count = len(loaded.origins)
    click.echo(f"ok: {count} setting{'' if count == 1 else 's'} set; files: {read}")


@config.command()
@_FILE
@click.option("--origin", is_flag=True, help="Say behind each value where it came from.")
def show(file: Path | None, origin: bool) -> None:
    """Print the settings in force as TOML, secrets hidden."""
    from harebell.settings.documents import in_force

    click.echo(in_force(_loaded(file), origins=origin), nl=False)


@config.command()
def default() -> None:
    """Print the annotated default file: config/harebell.toml."""
    from harebell.settings.documents import default_file

    click.echo(default_file(), nl=False)


@config.command()
def schema() -> None:
    """Print the JSON schema of the file."""
    from harebell.settings import documents

    click.echo(documents.schema(), nl=False)


@config.command()
def reference() -> None:
    """Print the reference of all settings: docs/settings.md."""
    from harebell.settings import documents

    click.echo(documents.reference(), nl=False)


@config.command()
def arguments() -> None:
    """Print the reference of queue, exchange and consumer arguments: docs/arguments.md."""
    from harebell.cli.arguments_reference import arguments_reference

    click.echo(arguments_reference(), nl=False)


@config.command()
def metrics() -> None:
    """Print the reference of all metrics: docs/metrics.md."""
    from harebell.cli.metrics_reference import metrics_reference

    click.echo(metrics_reference(), nl=False)


@config.command()
def cli() -> None:
    """Print the reference of all commands: docs/cli.md."""
    from harebell.cli.reference import cli_reference

    click.echo(cli_reference(), nl=False)


def _loaded(file: Path | None) -> Loaded:
    try:
        return load(config=file)
    except SettingsError as error:
        raise Failure(str(error), CONFIG) from None
