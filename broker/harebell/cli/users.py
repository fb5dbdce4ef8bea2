"""``harebell users``: accounts, their passwords, tags and limits."""

from __future__ import annotations

import click

from harebell.cli.api import Api, ApiError
from harebell.cli.exits import DATA, NOT_PERMITTED, Failure
from harebell.cli.nouns import Noun
from harebell.cli.options import Listing, form_option, listing, with_api
from harebell.cli.output import Column, emit, fields, json_text, say
from harebell.cli.secrets import chosen_password, password_argument

LIMITS = click.Choice(["max-connections", "max-channels"])


@click.group(cls=Noun)
def users() -> None:
    """Look at users, add, change and delete them."""


@users.command("list")
@listing("name", "tags", Column("hashing_algorithm", "hashing"), "limits")
@with_api
def list_users(api: Api, shown: Listing) -> None:
    """List users; hashes of passwords are in the output of `definitions export` only."""
    rows = [{key: value for key, value in row.items() if key != "password_hash"} for row in api.get("users")]
    shown.show(rows)


@users.command()
@click.argument("name")
@form_option
@with_api
def show(api: Api, name: str, form: str) -> None:
    """Show one user and what it may do."""
    user = {key: value for key, value in api.get("users", name).items() if key != "password_hash"}
    may = api.get("users", name, "permissions")
    if form == "json":
        emit([json_text({**user, "permissions": may})])
        return
    emit(fields([(key, user.get(key)) for key in ("name", "tags", "limits")], ""))
    for one in may:
        rights = [(key, one[key] or "(nothing)") for key in ("configure", "write", "read")]
        emit([f"in virtual host {one['vhost']}:", *fields(rights)])


@users.command()
@click.argument("name")
@password_argument
@click.option("--tags", default="", metavar="A,B", help="administrator, monitoring, policymaker, management.")
@click.option(
    "--password-hash", metavar="HASH", help="A hash instead of a password, as `hash-password` makes."
)
@click.option("--all-permissions", is_flag=True, help="Grant everything in the virtual host '/'.")
@with_api
def add(
    api: Api,
    name: str,
    password: str | None,
    password_file: str | None,
    tags: str,
    password_hash: str | None,
    all_permissions: bool,
) -> None:
    """Add a user; it has no permissions until `permissions set` grants some."""
    add_user(api, name, password_body(password, password_file, password_hash), tags)
    if all_permissions:
        api.put("permissions", "/", name, body={"configure": ".*", "write": ".*", "read": ".*"})
    say(
        f"added user {name!r}"
        + ("" if all_permissions else "; `harebell permissions set` grants permissions")
    )


def password_body(password: str | None, file: str | None, hashed: str | None) -> dict[str, str]:
    """Return the part of a request that tells a password or its hash."""
    if hashed:
        return {"password_hash": hashed}
    return {"password": chosen_password(password, file)}


def add_user(api: Api, name: str, secret: dict[str, str], tags: str) -> None:
    """Add a user.

    Raises:
        Failure: there is one of this name.
    """
    try:
        api.get("users", name)
    except ApiError as error:
        if error.status != 404:
            raise
    else:
        raise Failure(f"there is a user {name!r} already; `change-password` changes its password", DATA)
    api.put("users", name, body={**secret, "tags": tags})


@users.command()
@click.argument("name")
@with_api
def delete(api: Api, name: str) -> None:
    """Delete a user and close its connections."""
    api.delete("users", name)
    say(f"deleted user {name!r}")


@users.command("change-password")
@click.argument("name")
@password_argument
@click.option("--password-hash", metavar="HASH", help="A hash instead of a password.")
@with_api
def change_password(
    api: Api, name: str, password: str | None, password_file: str | None, password_hash: str | None
) -> None:
    """Change the password of a user; connections that are open stay."""
    tags = api.get("users", name)["tags"]
    secret = password_body(password, password_file, password_hash)
    api.put("users", name, body={**secret, "tags": _joined(tags)})
    say(f"changed the password of user {name!r}")


@users.command("clear-password")
@click.argument("name")
@with_api
def clear_password(api: Api, name: str) -> None:
    """Take a user's password away: it logs in by certificate or not at all."""
    erase_password(api, name)
    say(f"user {name!r} has no password now")


def erase_password(api: Api, name: str) -> None:
    """Leave a user without a password."""
    api.put("users", name, body={"password_hash": "", "tags": _joined(api.get("users", name)["tags"])})


@users.command()
@click.argument("name")
@password_argument
@with_api
def authenticate(api: Api, name: str, password: str | None, password_file: str | None) -> None:
    """Try a password; exit code 77 if it is wrong."""
    if not logs_in(api, name, chosen_password(password, password_file, twice=False)):
        raise Failure(f"wrong user or password for {name!r}", NOT_PERMITTED)
    say(f"{name!r} can log in")


def logs_in(api: Api, name: str, password: str) -> bool:
    """Tell whether a password is right; a user who may not use the API can still log in to it.

    Raises:
        Failure: the broker cannot be asked.
    """
    attempt = api.login_as(name, password)
    try:
        attempt.get("whoami")
    except ApiError as error:
        if error.status == 401 and "management user" in error.reason.lower():
            return True
        if error.status == 401:
            return False
        raise
    finally:
        attempt.close()
    return True


@users.command("set-tags")
@click.argument("name")
@click.argument("tags", nargs=-1)
@with_api
def set_tags(api: Api, name: str, tags: tuple[str, ...]) -> None:
    """Replace the tags of a user; without any it has none."""
    retag(api, name, list(tags))
    say(f"user {name!r} has " + (f"the tags {', '.join(tags)}" if tags else "no tags"))


def retag(api: Api, name: str, tags: list[str]) -> None:
    """Replace a user's tags and keep its password."""
    user = api.get("users", name)
    body = {"password_hash": user.get("password_hash", ""), "tags": ",".join(tags)}
    if user.get("hashing_algorithm"):
        body["hashing_algorithm"] = user["hashing_algorithm"]
    api.put("users", name, body=body)


def _joined(tags: object) -> str:
    return ",".join(tags) if isinstance(tags, list) else str(tags)


@users.command("limits")
@click.argument("name", required=False)
@listing("user", Column("value", "limits"))
@with_api
def list_limits(api: Api, name: str | None, shown: Listing) -> None:
    """List the limits of a user, or of all."""
    shown.show(api.get(*(("user-limits",) if name is None else ("user-limits", name))))


@users.command("set-limit")
@click.argument("name")
@click.argument("limit", type=LIMITS)
@click.argument("value", type=click.IntRange(-1))
@with_api
def set_limit(api: Api, name: str, limit: str, value: int) -> None:
    """Limit what a user may open at once; -1 is no limit."""
    api.put("user-limits", name, limit, body={"value": value})
    say(f"user {name!r} has {limit} {value}")


@users.command("clear-limit")
@click.argument("name")
@click.argument("limit", type=LIMITS)
@with_api
def clear_limit(api: Api, name: str, limit: str) -> None:
    """Lift a limit of a user."""
    api.delete("user-limits", name, limit)
    say(f"user {name!r} has no {limit}")
