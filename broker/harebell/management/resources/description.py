"""The API's description of itself: ``/openapi.json`` (not in RabbitMQ)."""

from __future__ import annotations

from typing import Final

from harebell.management import openapi
from harebell.management.answers import Answer, ok
from harebell.management.calls import Call
from harebell.management.routing import Right, Route


async def description(call: Call) -> Answer:
    """Describe this API in OpenAPI 3.1."""
    # All the resources, and this is one of them.
    from harebell.management.resources import MODULES

    routes = (route for module in MODULES for route in module.ROUTES)
    return ok(openapi.document(routes, call.admin.settings.management.path_prefix))


ROUTES: Final = (Route("GET", "/openapi.json", description, Right.NOBODY),)
