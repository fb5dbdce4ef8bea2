"""``harebell completion``: the script that completes commands in bash, zsh or fish."""

from __future__ import annotations

import os

import click
from click.shell_completion import get_completion_class

from harebell.cli.exits import USAGE, Failure

VARIABLE = "_HAREBELL_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS), required=False)
def completion(shell: str | None) -> None:
    """Print a completion script: eval "$(harebell completion bash)".

    zsh: eval "$(harebell completion zsh)"; fish: harebell completion fish | source. Without a name, the shell
    is the one of $SHELL.
    """
    from harebell.cli.group import harebell

    name = shell or os.path.basename(os.environ.get("SHELL", ""))
    found = get_completion_class(name) if name in SHELLS else None
    if found is None:
        raise Failure(f"name a shell: {', '.join(SHELLS)}", USAGE)
    click.echo(script(found(harebell, {}, "harebell", VARIABLE), name))


def script(found: object, name: str) -> str:
    """Return the script; that of bash without the check of its version, which would run a bash."""
    from click.shell_completion import ShellComplete

    assert isinstance(found, ShellComplete)
    return found.source_template % found.source_vars()
