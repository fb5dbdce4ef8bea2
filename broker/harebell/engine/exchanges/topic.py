"""The topic exchange: binding keys are patterns of words, kept in a trie.

Keys are words between dots; ``*`` stands for one word, ``#`` for any number of words, none included.  The
empty key has no words, so it matches the patterns ``''`` and ``#`` but not ``*``.  Everything else is a word,
empty ones included: ``a.`` has two.

Matching walks the trie with all words at once, as a set of nodes, so its time is bounded by the number of
words times the number of nodes, however many ``#`` the patterns hold.
"""

from __future__ import annotations

from collections.abc import Iterable

from harebell.content.properties import Properties
from harebell.content.table import Table
from harebell.engine.destination import Destination
from harebell.engine.exchanges.exchange import Binding, Exchange


class TopicNode:
    """A node of the trie: the patterns that begin with the same words.

    Attributes:
        words: children by word.
        star: the child reached by ``*``.
        hash: the child reached by ``#``.
        loops: True for a node reached by ``#``, which any word leads back to.
        bindings: bindings whose pattern ends here.
    """

    def __init__(self, loops: bool) -> None:
        self.words: dict[str, TopicNode] = {}
        self.star: TopicNode | None = None
        self.hash: TopicNode | None = None
        self.loops: bool = loops
        self.bindings: dict[Binding, None] = {}

    def child(self, word: str) -> TopicNode | None:
        """Give the child for one word of a pattern."""
        if word == "*":
            return self.star
        if word == "#":
            return self.hash
        return self.words.get(word)

    def grow(self, word: str) -> TopicNode:
        """Give the child for one word of a pattern, made if missing."""
        child = self.child(word)
        if child is None:
            child = TopicNode(word == "#")
            if word == "*":
                self.star = child
            elif word == "#":
                self.hash = child
            else:
                self.words[word] = child
        return child

    def prune(self, word: str) -> None:
        """Drop the child for one word of a pattern if nothing hangs on it."""
        child = self.child(word)
        if child is None or child.bindings or not child.is_leaf():
            return
        if word == "*":
            self.star = None
        elif word == "#":
            self.hash = None
        else:
            del self.words[word]

    def is_leaf(self) -> bool:
        """Tell whether no pattern goes on after this node."""
        return not self.words and self.star is None and self.hash is None


def split_key(key: str) -> list[str]:
    """Split a key into its words; the empty key has none."""
    return key.split(".") if key else []


def split_pattern(key: str) -> list[str]:
    """Split a binding key into its words, a run of ``#`` being the same as one."""
    words: list[str] = []
    for word in split_key(key):
        if word != "#" or not words or words[-1] != "#":
            words.append(word)
    return words


class TopicExchange(Exchange):
    """Routes by patterns (AMQP 0-9-1 section 3.1.3.3); any number of ``#`` in one key is fine."""

    type_name = "topic"

    def __init__(self, name: str, durable: bool, auto_delete: bool, internal: bool, arguments: Table) -> None:
        super().__init__(name, durable, auto_delete, internal, arguments)
        self._root = TopicNode(False)

    def binding_added(self, binding: Binding) -> None:
        node = self._root
        for word in split_pattern(binding.routing_key):
            node = node.grow(word)
        node.bindings[binding] = None

    def binding_removed(self, binding: Binding) -> None:
        words = split_pattern(binding.routing_key)
        path = [self._root]
        for word in words:
            child = path[-1].child(word)
            if child is None:
                return
            path.append(child)
        path.pop().bindings.pop(binding, None)
        while words:
            path.pop().prune(words.pop())

    def route(self, routing_key: str, properties: Properties | None) -> Iterable[Destination]:
        finished: dict[TopicNode, None] = {}
        nodes: dict[TopicNode, None] = {}
        _enter(self._root, nodes, finished)
        for word in split_key(routing_key):
            after: dict[TopicNode, None] = {}
            for node in nodes:
                if node.loops:
                    _enter(node, after, finished)
                child = node.words.get(word)
                if child is not None:
                    _enter(child, after, finished)
                if node.star is not None:
                    _enter(node.star, after, finished)
            nodes = after
            if not nodes:
                break
        finished.update(nodes)
        found: list[Destination] = []
        for node in finished:
            for binding in node.bindings:
                found.append(binding.destination)
        return found


def _enter(node: TopicNode, nodes: dict[TopicNode, None], finished: dict[TopicNode, None]) -> None:
    """Put a node and what ``#`` reaches from it without a word into the set of nodes.

    A ``#`` that ends a pattern has matched whatever follows, so it is finished with at once.
    """
    entered: TopicNode | None = node
    while entered is not None and entered not in nodes:
        if entered.loops and entered.is_leaf():
            finished[entered] = None
            return
        nodes[entered] = None
        entered = entered.hash
