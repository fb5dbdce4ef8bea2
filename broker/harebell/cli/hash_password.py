"""``harebell hash-password``: what definitions and `users add --password-hash` carry."""

from __future__ import annotations

import click

from harebell.cli.secrets import chosen_password, password_argument


@click.command("hash-password")
@password_argument
@click.option(
    "--method",
    type=click.Choice(("sha256", "argon2id")),
    default="sha256",
    show_default=True,
    help="sha256 is what RabbitMQ can read, too.",
)
def hash_password(password: str | None, password_file: str | None, method: str) -> None:
    """Print the salted hash of a password, for definitions; asks for the password if need be."""
    from harebell.auth.passwords import hash_password as hashed

    click.echo(hashed(chosen_password(password, password_file).encode(), method).encode())
