"""Users, permissions, virtual hosts, limits, as rabbitmqctl manages them."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable
from typing import Any

from harebell.cli.api import ApiError
from harebell.cli.ctl.call import Call, Command, Refusal
from harebell.cli.ctl.terms import json_text
from harebell.cli.exits import DATA, NO_USER, SOFTWARE, USAGE


def _no_user(name: str) -> Refusal:
    return Refusal(f'User "{name}" does not exist', NO_USER)


def _no_vhost(name: str) -> Refusal:
    return Refusal(f"Virtual host '{name}' does not exist", DATA)


def _user(call: Call, name: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = call.api.get("users", name)
        return found
    except ApiError as error:
        raise _no_user(name) if error.status == 404 else error from None


def _password(call: Call, at: int) -> str:
    """Return the password that is an argument, else the first line of the standard input."""
    if len(call.arguments) > at:
        return call.arguments[at]
    if sys.stdin.isatty():
        return getpass.getpass("Password: ")
    return sys.stdin.readline().rstrip("\r\n")


def _granting(call: Call, user: str, change: Callable[[], object]) -> None:
    """Make a change that names a user and the virtual host, and tell which of them is missing."""
    try:
        change()
    except ApiError as error:
        if error.status not in (400, 404) or "not_found" not in error.reason.replace(" ", "_").lower():
            raise
        _user(call, user)
        raise _no_vhost(call.vhost) from None


def add_user(call: Call) -> int | None:
    """Creates a user, who has no permissions yet."""
    name = call.arguments[0]
    call.banner(f'Adding user "{name}" ...')
    secret = _password(call, 1)
    key = "password_hash" if "pre-hashed-password" in call.options else "password"
    try:
        call.api.get("users", name)
    except ApiError as error:
        if error.status != 404:
            raise
    else:
        raise Refusal(f'User "{name}" already exists', SOFTWARE)
    call.api.put("users", name, body={key: secret, "tags": ""})
    if not call.quiet and not call.silent:
        call.say(
            "Done. Don't forget to grant the user permissions to some virtual hosts! "
            f"See '{call.tool} help set_permissions' to learn more."
        )
    return None


def delete_user(call: Call) -> int | None:
    """Removes a user."""
    name = call.arguments[0]
    call.banner(f'Deleting user "{name}" ...')
    try:
        call.api.delete("users", name)
    except ApiError as error:
        raise _no_user(name) if error.status == 404 else error from None
    return None


def change_password(call: Call) -> int | None:
    """Changes the password of a user."""
    name = call.arguments[0]
    call.banner(f'Changing password for user "{name}" ...')
    tags = _user(call, name)["tags"]
    secret = _password(call, 1)
    key = "password_hash" if "pre-hashed-password" in call.options else "password"
    call.api.put("users", name, body={key: secret, "tags": _joined(tags)})
    return None


def clear_password(call: Call) -> int | None:
    """Takes the password of a user away."""
    name = call.arguments[0]
    call.banner(f'Clearing password for user "{name}" ...')
    call.api.put("users", name, body={"password_hash": "", "tags": _joined(_user(call, name)["tags"])})
    return None


def authenticate_user(call: Call) -> int | None:
    """Tries a password."""
    name = call.arguments[0]
    call.banner(f'Authenticating user "{name}" ...')
    attempt = call.api.login_as(name, _password(call, 1))
    try:
        attempt.get("whoami")
    except ApiError as error:
        if error.status != 401:
            raise
        if "management user" not in error.reason.lower():
            text = f"Error: failed to authenticate user \"{name}\"\nuser '{name}' - invalid credentials"
            raise Refusal(text, DATA) from None
    finally:
        attempt.close()
    call.say("Success")
    return None


def set_user_tags(call: Call) -> int | None:
    """Replaces the tags of a user."""
    name, *words = call.arguments
    tags = [tag for word in words for tag in word.split(",") if tag]
    call.banner(f'Setting tags for user "{name}" to [{", ".join(tags)}] ...')
    user = _user(call, name)
    body = {"password_hash": user.get("password_hash") or "", "tags": ",".join(tags)}
    if user.get("hashing_algorithm"):
        body["hashing_algorithm"] = user["hashing_algorithm"]
    call.api.put("users", name, body=body)
    return None


def _joined(tags: object) -> str:
    return ",".join(tags) if isinstance(tags, list) else str(tags)


def set_permissions(call: Call) -> int | None:
    """Sets what a user may do in a virtual host."""
    name, configure, write, read = call.arguments
    call.banner(f'Setting permissions for user "{name}" in vhost "{call.vhost}" ...')
    body = {"configure": configure, "write": write, "read": read}
    _granting(call, name, lambda: call.api.put("permissions", call.vhost, name, body=body))
    return None


def clear_permissions(call: Call) -> int | None:
    """Revokes what a user may do in a virtual host."""
    name = call.arguments[0]
    call.banner(f'Clearing permissions for user "{name}" in vhost "{call.vhost}" ...')
    _clear(call, name, "permissions", call.vhost, name)
    return None


def _clear(call: Call, user: str, *path: str) -> None:
    """Delete; what is not there is cleared already, unless it is the user or the virtual host."""
    try:
        call.api.delete(*path)
    except ApiError as error:
        if error.status != 404:
            raise
        _user(call, user)
        _vhost(call, call.vhost)


def _vhost(call: Call, name: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = call.api.get("vhosts", name)
        return found
    except ApiError as error:
        raise _no_vhost(name) if error.status == 404 else error from None


def set_topic_permissions(call: Call) -> int | None:
    """Sets the routing keys a user may write and read at an exchange."""
    name, exchange, write, read = call.arguments
    call.banner(f'Setting topic permissions on "{exchange}" for user "{name}" in vhost "{call.vhost}" ...')
    body = {"exchange": exchange, "write": write, "read": read}
    _granting(call, name, lambda: call.api.put("topic-permissions", call.vhost, name, body=body))
    return None


def clear_topic_permissions(call: Call) -> int | None:
    """Clears the topic permissions of a user at an exchange, or at all."""
    name, *exchange = call.arguments
    on = f' on "{exchange[0]}"' if exchange else ""
    call.banner(f'Clearing topic permissions{on} for user "{name}" in vhost "{call.vhost}" ...')
    _clear(call, name, "topic-permissions", call.vhost, name, *exchange)
    return None


def add_vhost(call: Call) -> int | None:
    """Creates a virtual host."""
    name = call.arguments[0]
    call.banner(f'Adding vhost "{name}" ...')
    body = {
        key: call.options[option]
        for option, key in (
            ("description", "description"),
            ("tags", "tags"),
            ("default-queue-type", "default_queue_type"),
        )
        if call.options.get(option)
    }
    try:
        call.api.get("vhosts", name)
    except ApiError as error:
        if error.status != 404:
            raise
        call.api.put("vhosts", name, body=body)
    return None


def delete_vhost(call: Call) -> int | None:
    """Deletes a virtual host and all in it."""
    name = call.arguments[0]
    call.banner(f'Deleting vhost "{name}" ...')
    try:
        call.api.delete("vhosts", name)
    except ApiError as error:
        raise _no_vhost(name) if error.status == 404 else error from None
    return None


def set_vhost_tags(call: Call) -> int | None:
    """Sets the tags of a virtual host."""
    name, *tags = call.arguments
    call.banner(f'Setting tags for virtual host "{name}" to [{", ".join(tags)}] ...')
    _change_vhost(call, name, tags=",".join(tags))
    return None


def update_vhost_metadata(call: Call) -> int | None:
    """Changes what describes a virtual host."""
    name = call.arguments[0]
    call.banner(f'Updating metadata of vhost "{name}" ...')
    _change_vhost(call, name, **{key.replace("-", "_"): value for key, value in call.options.items()})
    return None


def trace_on(call: Call) -> int | None:
    """Copies every message of a virtual host to amq.rabbitmq.trace."""
    call.banner(f'Starting tracing for vhost "{call.vhost}" ...')
    _change_vhost(call, call.vhost, tracing=True)
    call.say(f"Trace enabled for vhost {call.vhost}")
    return None


def trace_off(call: Call) -> int | None:
    """Ends tracing of a virtual host."""
    call.banner(f'Stopping tracing for vhost "{call.vhost}" ...')
    _change_vhost(call, call.vhost, tracing=False)
    call.say(f"Trace disabled for vhost {call.vhost}")
    return None


def _change_vhost(call: Call, name: str, **changes: object) -> None:
    """Change what describes a virtual host and keep the rest."""
    from harebell.cli.vhosts import described

    call.api.put("vhosts", name, body={**described(_vhost(call, name)), **changes})


def _read_limits(text: str) -> dict[str, Any]:
    import json

    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Refusal(f"Failed to parse arguments as a valid JSON object: {text}", DATA)
    return found


def set_vhost_limits(call: Call) -> int | None:
    """Sets limits of a virtual host."""
    text = call.arguments[0]
    call.banner(f'Setting vhost limits to "{text}" for vhost "{call.vhost}" ...')
    limits = _read_limits(text)
    _vhost(call, call.vhost)
    for name, value in limits.items():
        call.api.put("vhost-limits", call.vhost, name, body={"value": value})
    return None


def clear_vhost_limits(call: Call) -> int | None:
    """Clears limits of a virtual host."""
    call.banner(f'Clearing vhost "{call.vhost}" limits ...')
    for row in call.api.get("vhost-limits", call.vhost):
        for name in row["value"]:
            call.api.delete("vhost-limits", call.vhost, name)
    return None


def set_user_limits(call: Call) -> int | None:
    """Sets limits of a user."""
    user, text = call.arguments
    call.banner(f'Setting user limits to "{text}" for user "{user}" ...')
    limits = _read_limits(text)
    _user(call, user)
    for name, value in limits.items():
        call.api.put("user-limits", user, name, body={"value": value})
    return None


def clear_user_limits(call: Call) -> int | None:
    """Clears a limit of a user, or all."""
    user, chosen = call.arguments
    call.banner(f'Clearing {chosen if chosen == "all" else repr(chosen)} limits for user "{user}" ...')
    _user(call, user)
    for row in call.api.get("user-limits", user):
        for name in row["value"]:
            if chosen in ("all", name):
                call.api.delete("user-limits", user, name)
    return None


def hash_password(call: Call) -> int | None:
    """Prints the hash of a password, for definitions."""
    from harebell.auth.passwords import hash_password as hashed

    secret = _password(call, 0)
    if not secret:
        raise Refusal("a password is needed", USAGE)
    call.banner("Will hash password ...")
    call.say(hashed(secret.encode()).encode())
    return None


def list_of_hashes(call: Call) -> int | None:
    """Lists the kinds of password hashes."""
    kinds = ["rabbit_password_hashing_sha256", "rabbit_password_hashing_sha512", "argon2id"]
    call.document({"hashes": kinds}, [json_text(kinds)])
    return None


PRE_HASHED = ("pre-hashed-password",)
METADATA = ("description", "tags", "default-queue-type")

COMMANDS = {
    "add_user": Command(add_user, "<username> [<password>]", PRE_HASHED),
    "delete_user": Command(delete_user, "<username>"),
    "change_password": Command(change_password, "<username> [<password>]", PRE_HASHED),
    "clear_password": Command(clear_password, "<username>"),
    "authenticate_user": Command(authenticate_user, "<username> [<password>]"),
    "set_user_tags": Command(set_user_tags, "<username> [<tag>, ...]"),
    "set_permissions": Command(set_permissions, "<username> <configure> <write> <read>"),
    "clear_permissions": Command(clear_permissions, "<username>"),
    "set_topic_permissions": Command(set_topic_permissions, "<username> <exchange> <write> <read>"),
    "clear_topic_permissions": Command(clear_topic_permissions, "<username> [<exchange>]"),
    "add_vhost": Command(add_vhost, "<vhost>", options=METADATA),
    "delete_vhost": Command(delete_vhost, "<vhost>"),
    "set_vhost_tags": Command(set_vhost_tags, "<vhost> [<tag>, ...]"),
    "update_vhost_metadata": Command(update_vhost_metadata, "<vhost>", options=METADATA),
    "trace_on": Command(trace_on),
    "trace_off": Command(trace_off),
    "set_vhost_limits": Command(set_vhost_limits, "<definition>"),
    "clear_vhost_limits": Command(clear_vhost_limits),
    "set_user_limits": Command(set_user_limits, "<username> <definition>"),
    "clear_user_limits": Command(clear_user_limits, "<username> <limit_type>"),
    "hash_password": Command(hash_password, "[<password>]"),
    "list_hashes": Command(list_of_hashes),
}
