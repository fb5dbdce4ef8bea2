"""Definitions: all that is declared on a node, as JSON in RabbitMQ's form, in and out.

Files of RabbitMQ 3.x and 4.x and of LavinMQ are understood; what is exported loads into RabbitMQ since 3.8.
"""

from harebell.administration.definitions.entries import Difference
from harebell.administration.definitions.exporting import exported, exported_vhost
from harebell.administration.definitions.importing import Import, Progress, hash_passwords

__all__ = [
    "Difference",
    "Import",
    "Progress",
    "exported",
    "exported_vhost",
    "hash_passwords",
]
