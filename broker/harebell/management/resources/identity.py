"""Who talks to whom: ``/whoami``, ``/auth``, ``/version``, ``/login``."""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import Final
from urllib.parse import parse_qsl, quote

from harebell.management.answers import Answer, ok
from harebell.management.calls import Call
from harebell.management.errors import not_authorised
from harebell.management.login import Refused, authenticate
from harebell.management.routing import REFUSALS, Right, Route
from harebell.ports import Login


async def whoami(call: Call) -> Answer:
    """Tell who is logged in."""
    return ok({"name": call.user.name, "tags": sorted(call.user.tags)})


async def auth(call: Call) -> Answer:
    """Tell how to log in: never by OAuth 2."""
    return ok({"enable_uaa": False, "oauth_enabled": False, "uaa_client_id": "", "uaa_location": ""})


async def version(call: Call) -> Answer:
    """Tell the version of the RabbitMQ whose behaviour is followed."""
    return ok(call.admin.settings.compat.version)


async def log_in(call: Call) -> Answer:
    """Log in with a form, as RabbitMQ's web pages do; the cookie is what they send on."""
    form = dict(parse_qsl(call.body.decode("utf-8", "replace"), max_num_fields=20))
    name, password = form.get("username", ""), form.get("password", "")
    login = Login("PLAIN", name, password.encode(), call.peer, protocol="http")
    user = await authenticate(call.admin.directory, login)
    if user is None:
        raise Refused(login)
    if Right.MANAGEMENT.value.isdisjoint(user.tags):
        raise not_authorised(REFUSALS[Right.MANAGEMENT])
    answer = ok("ok")
    credentials = base64.b64encode(f"{name}:{password}".encode()).decode()
    answer.headers["Set-Cookie"] = f"auth={quote(credentials)}; Path=/; HttpOnly; SameSite=Strict"
    return answer


async def hash_password(call: Call) -> Answer:
    """Hash a password as RabbitMQ does, for definitions."""
    salt = secrets.token_bytes(4)
    digest = hashlib.sha256(salt + call.path["password"].encode("utf-8", "surrogateescape")).digest()
    return ok({"ok": base64.b64encode(salt + digest).decode()})


ROUTES: Final = (
    Route("GET", "/whoami", whoami),
    Route("GET", "/auth", auth, Right.NOBODY),
    Route("GET", "/version", version),
    Route("POST", "/login", log_in, Right.NOBODY),
    Route("GET", "/auth/hash_password/{password}", hash_password),
)
