"""What a queue may go by: arguments and policies that a model chooses from."""

from __future__ import annotations

import random
from typing import Any

POLICIES: list[dict[str, Any]] = [
    {"delayed-retry-type": "all", "delayed-retry-min": 2000, "delayed-retry-jitter": 50},
    {"delayed-retry-attempts": 3},
    {"max-length": 0},
    {"max-length": 10},
    {"max-length": 3, "overflow": "reject-publish"},
    {"message-ttl": 0},
    {"message-ttl": 20_000},
    {"group-header": "key"},
    {"group-header": "tenant"},
    {"fair-header": "key"},
    {"fair-header": "tenant"},
    {"delivery-rate": 3},
    {"max-unacked": 2},
    {"publish-rate": 1000},
    {"message-uid": True},
]


def arguments_of(chance: random.Random) -> dict[str, Any]:
    """Choose the arguments of a queue."""
    pick = chance.choice
    kind = pick(["classic", "quorum"])
    found: dict[str, Any] = {"x-queue-type": kind}
    sometimes: list[tuple[float, dict[str, Any]]] = [
        (0.5, {"x-group-header": "key"}),
        (0.3, {"x-fair-header": "tenant"}),
        (0.3, {"x-message-ttl": pick([0, 1500, 10_000, 60_000])}),
        (0.3, {"x-max-length": pick([0, 1, 5, 20]), "x-overflow": pick(["drop-head", "reject-publish"])}),
        (0.1, {"x-max-length-bytes": 1000}),
        (0.25, {"x-single-active-consumer": True}),
        (0.5, {"x-deduplication-window": 100_000}),
        (0.3, {"x-message-uid": True}),
        (0.15, {"x-max-unacked": pick([1, 3])}),
        (0.15, {"x-delivery-rate": pick([1, 5])}),
    ]
    if kind == "quorum":
        sometimes.append((1, {"x-delivery-limit": pick([-1, 0, 2, 20])}))
    else:
        sometimes.append((0.3, {"x-max-priority": 4}))
    if chance.random() < 0.6:
        found |= {
            "x-delayed-retry-type": pick(["all", "failed", "returned"]),
            # Less than what goes round as a dead letter is delayed for.
            "x-delayed-retry-min": pick([1000, 2900]),
            "x-delayed-retry-max": 20_000,
            "x-delayed-retry-backoff": pick(["linear", "exponential", "constant"]),
        }
        sometimes.append((0.5, {"x-delayed-retry-jitter": 30}))
        sometimes.append((0.5, {"x-delayed-retry-attempts": pick([1, 2, 4])}))
    for odds, table in sometimes:
        if chance.random() < odds:
            found |= table
    return found
