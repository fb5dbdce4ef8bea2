"""The resources of the HTTP API: each module has its routes in ``ROUTES``."""

from __future__ import annotations

from harebell.management.resources import (
    audit,
    bindings,
    channels,
    connections,
    definitions,
    description,
    exchanges,
    features,
    getting,
    health,
    identity,
    limits,
    log_level,
    maintenance,
    nodes,
    overview,
    parameters,
    permissions,
    policies,
    publishing,
    queues,
    redrive,
    shutdown,
    streams,
    users,
    vhost_changes,
    vhosts,
)
from harebell.management.routing import Router

MODULES = (
    audit,
    bindings,
    channels,
    connections,
    definitions,
    description,
    exchanges,
    features,
    getting,
    health,
    identity,
    limits,
    log_level,
    maintenance,
    nodes,
    overview,
    parameters,
    permissions,
    policies,
    publishing,
    queues,
    redrive,
    shutdown,
    streams,
    users,
    vhost_changes,
    vhosts,
)
"""Every module with routes; add a new one here."""


def router() -> Router:
    """Put the routes of all modules together."""
    return Router(route for module in MODULES for route in module.ROUTES)
