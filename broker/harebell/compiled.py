"""The hot modules: which of the package's modules mypyc compiles, and which of them run compiled now.

``HOT_MODULES`` is the one list. ``setup.py`` reads it from this file's source (without importing the
package), builds the modules as one group, so that they call each other natively, and passes over names that
have no file.
"""

import importlib.util
from collections.abc import Iterable
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

# Dotted names below ``harebell``. Keep this a plain tuple of string literals.
HOT_MODULES = (
    "histograms",
    "ports",
    "scratch",
    "paging",
    "streaming",
    "storage.null",
    "storage.segments",
    "storage.records",
    "storage.backlog_chunk",
    "storage.backlog",
    "storage.replay",
    "storage.journal",
    "storage.spill",
    "storage.page_reader",
    "storage.scratch_file",
    "storage.pager",
    "content.message",
    "content.table",
    "content.properties",
    "content.scanning",
    "content.chunks",
    "content.chunk_keys",
    "content.header_keys",
    "engine.samples",
    "engine.counters",
    "engine.destination",
    "engine.options",
    "engine.delay",
    "engine.consumers",
    "engine.dispatch",
    "engine.reply_to",
    "engine.queues.queue",
    "engine.queues.residency",
    "engine.deadlines",
    "engine.queues.stock",
    "engine.queues.places",
    "engine.queues.shelves",
    "engine.queues.ready",
    "engine.queues.levels",
    "engine.queues.rules",
    "engine.expiry",
    "engine.dead_lettering",
    "engine.queues.timed_leaf",
    "engine.queues.timed_rows",
    "engine.time_index",
    "engine.queues.timed",
    "engine.queues.retries",
    "engine.queues.delayed",
    "engine.queues.stocked",
    "engine.queues.browsing",
    "engine.queues.limited",
    "engine.selectors",
    "engine.filters",
    "engine.queues.lane",
    "engine.queues.laned_contents",
    "engine.queues.laned_stock",
    "engine.queues.lanes",
    "engine.queues.laned",
    "engine.queues.brakes",
    "engine.queues.braked",
    "engine.queues.classic",
    "engine.queues.accounts",
    "engine.queues.claims",
    "engine.queues.cursor",
    "engine.queues.deduplication",
    "engine.queues.id_window",
    "engine.queues.intake",
    "engine.queues.stream_restore",
    "engine.queues.stream",
    "engine.schemas",
    "engine.schema_checks",
    "engine.routing",
    "engine.dead_letter",
    "engine.message_uids",
    "engine.vhost",
    "engine.delays",
    "engine.exchanges.registry",
    "engine.exchanges.exchange",
    "engine.exchanges.direct",
    "engine.exchanges.delayed_message",
    "engine.exchanges.fanout",
    "engine.exchanges.topic",
    "engine.exchanges.headers",
    "engine.exchanges.consistent_hash",
    "engine.exchanges.modulus_hash",
    "engine.exchanges.random",
    "engine.exchanges.recent_history",
    "engine.exchanges.super_stream",
    "amqp.outbox",
    "amqp.leases",
    "amqp.unacked",
    "amqp.confirms",
    "amqp.delivery",
    "amqp.transactions",
    "amqp.checking",
    "amqp.intake",
    "amqp.publishing",
    "amqp.channel",
    "amqp.connection",
    "amqp.counting",
    "engine.inspection",
    "engine.lane_inspection",
    "amqp.inspection",
    "statistics.rates",
    "statistics.sampling",
    "statistics.queues",
    "statistics.sessions",
    "perf.histogram",
    "perf.confirm_window",
    "perf.inbound",
)

PACKAGE = "harebell"


def module_states(names: Iterable[str] = HOT_MODULES) -> dict[str, str]:
    """Tell how each hot module would be loaded by this interpreter.

    Args:
        names: dotted names below ``harebell``.

    Returns:
        For each name ``"compiled"``, ``"interpreted"`` or ``"absent"`` (no such module in this installation).
    """
    return {name: _state(f"{PACKAGE}.{name}") for name in names}


def _state(module: str) -> str:
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return "absent"
    if spec is None or spec.origin is None:
        return "absent"
    return "compiled" if spec.origin.endswith(tuple(EXTENSION_SUFFIXES)) else "interpreted"


def summary(states: dict[str, str] | None = None) -> str:
    """Say in a word or two whether the hot path runs compiled: for the banner, the version and the logs.

    Args:
        states: what ``module_states()`` returned; asked again when absent.

    Returns:
        ``"compiled"``, ``"interpreted"``, or ``"partly compiled (3 of 14 modules)"``.
    """
    found = [state for state in (states or module_states()).values() if state != "absent"]
    count = found.count("compiled")
    if count == 0:
        return "interpreted"
    if count == len(found):
        return "compiled"
    return f"partly compiled ({count} of {len(found)} modules)"


def installed_in() -> Path:
    """Return the folder this copy of the package was loaded from."""
    return Path(__file__).parent


if __name__ == "__main__":
    for hot_module, state in module_states().items():
        print(f"{state:12} {PACKAGE}.{hot_module}")
    print(f"{summary()}, from {installed_in()}")
