"""How long scrapes take and how large they are, under the names of RabbitMQ's Prometheus client."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from harebell.metrics.exposition import CONTENT_TYPE, SUMMARY, head, labels, sample

SIZE: Final = "telemetry_scrape_size_bytes"
ENCODED: Final = "telemetry_scrape_encoded_size_bytes"
DURATION: Final = "telemetry_scrape_duration_seconds"

SUMMARIES: Final = (
    (SIZE, "Scrape size, not encoded"),
    (DURATION, "Scrape duration"),
    (ENCODED, "Scrape size, encoded"),
)


@dataclass(slots=True)
class _Scrapes:
    count: int = 0
    seconds: float = 0.0
    octets: int = 0


class Telemetry:
    """Counts scrapes by the path asked for."""

    def __init__(self) -> None:
        self._registries: dict[str, _Scrapes] = {}

    def scraped(self, registry: str, seconds: float, octets: int) -> None:
        """Count one scrape."""
        scrapes = self._registries.setdefault(registry, _Scrapes())
        scrapes.count += 1
        scrapes.seconds += seconds
        scrapes.octets += octets

    def write(self) -> Iterator[str]:
        """Write what was counted of the scrapes before this one."""
        for name, text in SUMMARIES:
            yield head(name, SUMMARY, text)
            for registry, scrapes in self._registries.items():
                values = [registry, CONTENT_TYPE]
                names = ["registry", "content_type"]
                if name == ENCODED:
                    names.append("encoding")
                    values.append("identity")
                total = scrapes.seconds if name == DURATION else scrapes.octets
                label_text = labels(names, values)
                yield sample(f"{name}_count", label_text, scrapes.count)
                yield sample(f"{name}_sum", label_text, total)
