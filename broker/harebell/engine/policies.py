"""Policies of a virtual host: options given to queues and exchanges by name pattern.

Exactly one policy and one operator policy apply to an object: of those whose pattern, kind and keys fit, the
one with the highest priority.  RabbitMQ leaves open which of two with the same priority; here it is the one
whose name sorts first.  A policy with a key that a queue's type does not know does not apply to it at all, as
observed on RabbitMQ.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from harebell.content.table import Table
from harebell.engine.arguments import ALL_TYPES, POLICY_KEYS
from harebell.engine.effective import effective_options, has_options
from harebell.engine.name_patterns import NamePattern
from harebell.engine.options import NOTHING_SET, QueueOptions

ALL: Final = "all"
EXCHANGES: Final = "exchanges"
QUEUES: Final = "queues"
QUEUE_KINDS: Final = {
    ALL: ALL_TYPES,
    QUEUES: ALL_TYPES,
    EXCHANGES: frozenset[str](),
    "classic_queues": frozenset({"classic"}),
    "quorum_queues": frozenset({"quorum"}),
    "streams": frozenset({"stream"}),
}
"""The queue types each ``apply-to`` means."""


class Policy(NamedTuple):
    """One policy or operator policy.

    Attributes:
        name: unique among the policies, or the operator policies, of its virtual host.
        pattern: regular expression on names of queues and exchanges.
        apply_to: ``all``, ``exchanges``, ``queues``, ``classic_queues``, ``quorum_queues`` or ``streams``.
        definition: value by policy key.
        priority: the highest applies.
    """

    name: str
    pattern: str
    apply_to: str
    definition: Table
    priority: int


class _Ranked(NamedTuple):
    """A policy ready to be matched: its pattern, the queue types it fits, whether it fits exchanges."""

    policy: Policy
    pattern: NamePattern
    types: frozenset[str]
    exchanges: bool


class PolicyList:
    """The policies, or the operator policies, of one virtual host, best first."""

    def __init__(self) -> None:
        self._by_name: dict[str, _Ranked] = {}
        self._ranked: list[_Ranked] = []

    def __len__(self) -> int:
        return len(self._ranked)

    def get(self, name: str) -> Policy | None:
        """Look up a policy by name."""
        found = self._by_name.get(name)
        return None if found is None else found.policy

    def all(self) -> list[Policy]:
        """List the policies in the order in which they are tried."""
        return [ranked.policy for ranked in self._ranked]

    def set(self, policy: Policy) -> None:
        """Add a checked policy, or replace the one of that name.

        Raises:
            BadPattern: its pattern is none; nothing has changed then.
        """
        types = QUEUE_KINDS.get(policy.apply_to, frozenset())
        for key in policy.definition:
            known = POLICY_KEYS.get(key)
            types &= frozenset() if known is None else known.types
        ranked = _Ranked(policy, NamePattern(policy.pattern), types, policy.apply_to in (ALL, EXCHANGES))
        self._by_name[policy.name] = ranked
        self._ranked = sorted(self._by_name.values(), key=lambda one: (-one.policy.priority, one.policy.name))

    def clear(self, name: str) -> None:
        """Remove a policy; one that is not there is fine."""
        if self._by_name.pop(name, None) is not None:
            self._ranked = [one for one in self._ranked if one.policy.name != name]

    def for_queue(self, name: str, type_name: str) -> Policy | None:
        """Give the one that applies to a queue."""
        for ranked in self._ranked:
            if type_name in ranked.types and ranked.pattern.matches(name):
                return ranked.policy
        return None

    def for_exchange(self, name: str) -> Policy | None:
        """Give the one that applies to an exchange; none ever does to the default exchange."""
        for ranked in self._ranked:
            if name and ranked.exchanges and ranked.pattern.matches(name):
                return ranked.policy
        return None


class Applied(NamedTuple):
    """What applies to a queue: its policy, its operator policy, and the options all comes to."""

    policy: Policy | None
    operator: Policy | None
    options: QueueOptions


class Policies:
    """Both kinds of policies of one virtual host, and the objects that have yet to follow a change.

    Attributes:
        regular, operator: the policies of each kind.
    """

    def __init__(self) -> None:
        self.regular = PolicyList()
        self.operator = PolicyList()
        self._shared: dict[tuple[str, str, str], QueueOptions] = {}

    def kind(self, operator: bool) -> PolicyList:
        """Give the policies of one kind."""
        return self.operator if operator else self.regular

    def set(self, policy: Policy, operator: bool) -> None:
        """Add or replace a policy.

        Raises:
            BadPattern: its pattern is none.
        """
        self.kind(operator).set(policy)
        self._shared.clear()

    def clear(self, name: str, operator: bool) -> None:
        """Remove a policy."""
        self.kind(operator).clear(name)
        self._shared.clear()

    def applied(self, name: str, type_name: str, arguments: Table) -> Applied:
        """Work out what applies to a queue; queues without options of their own share theirs."""
        policy = self.regular.for_queue(name, type_name)
        operator = self.operator.for_queue(name, type_name)
        if has_options(arguments):
            return Applied(policy, operator, effective_options(type_name, arguments, policy, operator))
        if policy is None and operator is None and type_name == "classic":
            return Applied(None, None, NOTHING_SET)
        # A name may be empty, but then it is a policy's: a missing one has none of the prefix.
        key = (
            type_name,
            "" if policy is None else f"p{policy.name}",
            "" if operator is None else f"o{operator.name}",
        )
        options = self._shared.get(key)
        if options is None:
            options = self._shared[key] = effective_options(type_name, {}, policy, operator)
        return Applied(policy, operator, options)
