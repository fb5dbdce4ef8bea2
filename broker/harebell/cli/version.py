"""``harebell version``: what is installed and how it runs."""

import json
import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

import click

from harebell import __version__
from harebell.compiled import installed_in, module_states, summary

_PARTS = ("uvloop", "pamqp", "pydantic", "structlog", "click", "librt")


@click.command(short_help="Say what is installed, and whether it is compiled.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.option("--modules", is_flag=True, help="List each hot module and whether it is compiled.")
def version(as_json: bool, modules: bool) -> None:
    """Say what is installed, and whether its hot path is compiled."""
    states = module_states()
    parts = {name: found for name in _PARTS if (found := _installed(name))}
    if as_json:
        document = {
            "harebell": __version__,
            "hot_path": summary(states),
            "modules": states,
            "python": platform.python_version(),
            "implementation": platform.python_implementation(),
            "platform": platform.platform(),
            "packages": parts,
            "location": str(installed_in()),
        }
        click.echo(json.dumps(document))
        return
    click.echo(f"harebell {__version__}, {summary(states)}")
    click.echo(f"{platform.python_implementation()} {platform.python_version()}, {platform.platform()}")
    click.echo(", ".join(f"{name} {number}" for name, number in parts.items()))
    click.echo(str(installed_in()))
    if modules:
        for name, state in states.items():
            click.echo(f"  {state:12} {name}")


def _installed(name: str) -> str | None:
    try:
        return version_of(name)
    except PackageNotFoundError:
        return None
