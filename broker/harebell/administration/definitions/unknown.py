"""What definitions of another broker hold that is not known here: policy keys, limits, types of plugins.

RabbitMQ refuses a whole file for it.  So does an import here unless it is told to leave that out.
"""

from __future__ import annotations

from typing import Final

from harebell.content.table import Table
from harebell.engine.policies import QUEUE_KINDS
from harebell.engine.policy_checks import VHOST_LIMITS, unknown_settings
from harebell.errors import PRECONDITION_FAILED, BrokerError

MOST_NAMED: Final = 100
"""Objects that one refusal names."""

HINT: Final = (
    "unknown=skip (HTTP API), --skip-unknown (harebell definitions import) or "
    "management.skip_unknown_definitions (settings) imports all the rest"
)


def quoted(what: str, names: Table) -> list[str]:
    """Name things of one kind: ``key 'a'``, ``key 'b'``."""
    return [f"{what} '{name}'" for name in names]


def unknown_in_policy(apply_to: object, definition: object, operator: bool) -> list[str]:
    """Name what a policy says that is not known here."""
    found = []
    if isinstance(apply_to, str) and apply_to not in QUEUE_KINDS:
        found.append(f"apply-to '{apply_to}'")
    if isinstance(definition, dict):
        found += quoted("key", unknown_settings(definition, operator))
    return found


def known_definition(apply_to: object, definition: object, operator: bool) -> Table:
    """Give what is left of a policy's definition without what is not known here; empty for nothing."""
    if apply_to not in QUEUE_KINDS or not isinstance(definition, dict):
        return {}
    unknown = unknown_settings(definition, operator)
    return {key: value for key, value in definition.items() if key not in unknown}


def unknown_limits(limits: object) -> list[str]:
    """Name limits of a virtual host that are not known here."""
    if not isinstance(limits, dict):
        return []
    return quoted("limit", {key: value for key, value in limits.items() if key not in VHOST_LIMITS})


def known_limits(limits: Table) -> Table:
    """Give the other limits."""
    return {key: value for key, value in limits.items() if key in VHOST_LIMITS}


class Unknown:
    """The objects of an import with something that is not known here.

    Attributes:
        count: how many there are.
        named: one line about each, for as many as are named.
    """

    def __init__(self) -> None:
        self.count = 0
        self.named: list[str] = []

    def add(self, line: str) -> None:
        """Note one."""
        self.count += 1
        if len(self.named) < MOST_NAMED:
            self.named.append(line)

    def refusal(self) -> BrokerError:
        """Build the refusal of an import for them."""
        more = f"\nand {self.count - len(self.named)} more" if self.count > len(self.named) else ""
        return BrokerError(PRECONDITION_FAILED, "\n".join(self.named) + more + f"\n{HINT}")
