"""What a row of metrics is: names, types and labels as they are written and documented."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from harebell.content.table import Table
from harebell.engine.name_patterns import NamePattern
from harebell.metrics.exposition import HISTOGRAM, Number, escape_label, histogram, sample

if TYPE_CHECKING:
    from harebell.metrics.sources import Sources

T = TypeVar("T")

Objects = Iterator[tuple[str, T] | None]
"""Text of labels and object; None in place of one that is not shown, so that it costs no time unseen."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects a scrape asks for.

    Attributes:
        vhosts: names of virtual hosts; None for all.
        queue: what is searched for in names of queues; None for all.
    """

    vhosts: frozenset[str] | None = None
    queue: NamePattern | None = None


ALL = Selection()


class Row(ABC, Generic[T]):
    """One metric of a family.

    Attributes:
        name: behind the prefix that the path of the scrape asks for.
        kind: ``counter``, ``gauge``, ``histogram`` or ``untyped``.
        help: what it tells, for ``# HELP`` and the reference.
        labels: names of labels it has beside those of the family.
    """

    def __init__(self, name: str, kind: str, text: str, labels: tuple[str, ...] = ()) -> None:
        self.name = name
        self.kind = kind
        self.help = text
        self.labels = labels

    @abstractmethod
    def read(self, shown: T) -> Any:
        """Read what is written of one object; None where it has nothing."""

    @abstractmethod
    def write(self, name: str, label_text: str, read: Any) -> str:
        """Write the samples of one object.

        Args:
            name: the full name.
            label_text: as ``labels`` of the exposition gives it.
            read: what ``read`` gave.
        """


class Metric(Row[T]):
    """A metric with one number for each object.

    Args:
        value: gives it; None where the object has none.
    """

    def __init__(self, name: str, kind: str, text: str, value: Callable[[T], Number | None]) -> None:
        super().__init__(name, kind, text)
        self._value = value

    def read(self, shown: T) -> Number | None:
        return self._value(shown)

    def write(self, name: str, label_text: str, read: Number | None) -> str:
        return "" if read is None else sample(name, label_text, read)


class Split(Row[T]):
    """A metric with several numbers for each object, told apart by a label.

    Args:
        label: its name.
        values: its values, and what gives the number of each.
    """

    def __init__(
        self,
        name: str,
        kind: str,
        text: str,
        label: str,
        values: Sequence[tuple[str, Callable[[T], Number]]],
    ) -> None:
        super().__init__(name, kind, text, (label,))
        self._texts = [f'{label}="{escape_label(each)}"' for each, _ in values]
        self._values = [value for _, value in values]

    def read(self, shown: T) -> list[Number]:
        return [value(shown) for value in self._values]

    def write(self, name: str, label_text: str, read: list[Number]) -> str:
        before = f"{label_text}," if label_text else ""
        samples = zip(self._texts, read, strict=True)
        return "".join([sample(name, before + text, value) for text, value in samples])


class Buckets(Row[T]):
    """A histogram for each object.

    Args:
        bounds: upper bounds of the buckets, without infinity.
        counts: gives how many are in each bucket, and the sum.
    """

    def __init__(
        self,
        name: str,
        text: str,
        bounds: Sequence[Number],
        counts: Callable[[T], tuple[Sequence[int], Number]],
    ) -> None:
        super().__init__(name, HISTOGRAM, text)
        self._bounds = bounds
        self._counts = counts

    def read(self, shown: T) -> tuple[Sequence[int], Number]:
        return self._counts(shown)

    def write(self, name: str, label_text: str, read: tuple[Sequence[int], Number]) -> str:
        return histogram(name, label_text, self._bounds, *read)


@dataclass(frozen=True, slots=True)
class Family(Generic[T]):
    """Metrics of the same objects, asked for together by ``family=`` in ``/metrics/detailed``.

    Attributes:
        name: RabbitMQ's, where it has the family.
        labels: those of each sample.
        metrics: its rows.
        objects: gives text of labels and object, for each object of a selection.
        summed: True if ``/metrics`` sums the samples up to one, False if it shows the objects.
        aggregated, per_object: True if it is in ``/metrics``, in ``/metrics/per-object``.
        totals: gives the sums in ``/metrics`` by name; None to sum up the objects that are there.
        kept: gives some of these sums, with what objects counted that are gone: those of counters, which must
            not fall when an object goes.
        prefix: what stands before the names.
        detailed: the same in ``/metrics/detailed``; empty where the family is not there.
    """

    name: str
    labels: tuple[str, ...]
    metrics: tuple[Row[T], ...]
    objects: Callable[[Sources, Selection], Objects[T]]
    summed: bool = True
    aggregated: bool = True
    per_object: bool = True
    totals: Callable[[Sources], dict[str, Number]] | None = None
    kept: Callable[[Sources], dict[str, Number]] | None = None
    prefix: str = "rabbitmq_"
    detailed: str = "rabbitmq_detailed_"


def field(key: str) -> Callable[[Table], Number | None]:
    """Give what reads a number from a table in RabbitMQ's field names."""

    def value(table: Table) -> Number | None:
        found = table.get(key)
        return found if isinstance(found, (int, float)) else None

    return value


def rows(*entries: tuple[str, str, str, str]) -> tuple[Row[Table], ...]:
    """Make metrics of tables from name, type, key in the table, and help."""
    return tuple(Metric(name, kind, text, field(key)) for name, kind, key, text in entries)
