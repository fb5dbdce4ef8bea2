"""The cluster's name: a global parameter, as on RabbitMQ, else what the settings say."""

from __future__ import annotations

import json
from typing import Final

from harebell.administration.administration import Administration

CLUSTER_NAME: Final = "cluster_name"
"""The global parameter that holds it."""

_PLACE: Final = ("", "", CLUSTER_NAME)


def cluster_name(admin: Administration) -> str:
    """Give the cluster's name; a node that has none goes by its own."""
    text = admin.broker.parameters.get(_PLACE)
    if text is not None:
        name = json.loads(text)
        if isinstance(name, str):
            return name
    return admin.settings.compat.cluster_name or admin.host.name


def set_cluster_name(admin: Administration, name: str) -> int:
    """Name the cluster, and return the lsn to wait for; clients that connect from now on are told.

    Raises:
        BrokerError: PRECONDITION_FAILED for a name that cannot be kept.
    """
    # Loaded only here: every start of a node tells the name, and none sets it.
    from harebell.administration.parameters import set_global_parameter

    lsn = set_global_parameter(admin, CLUSTER_NAME, name)
    tell_cluster_name(admin)
    return lsn


def tell_cluster_name(admin: Administration) -> None:
    """Tell clients that connect from now on the cluster's name."""
    admin.broker.server_properties["cluster_name"] = cluster_name(admin)
