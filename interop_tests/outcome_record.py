"""The record of which test had which outcome against which broker, kept for the oracle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from interop_tests.broker_under_test import BrokerUnderTest

FOLDER = Path(__file__).parent
ORACLE_RESULTS = FOLDER / "oracle_results.json"


def relative_id(nodeid: str) -> str:
    """Return a test's id relative to this folder, whatever directory pytest was started from."""
    return nodeid.removeprefix(f"{FOLDER.name}/")


class OutcomeRecord:
    """A pytest plugin that collects the outcomes of a run and writes them to a file if asked."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._outcomes: dict[str, str] = {}
        self.broker: BrokerUnderTest | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the outcome of a test; a failure in any phase counts."""
        name = relative_id(report.nodeid)
        if report.failed:
            self._outcomes[name] = "failed" if report.when == "call" else "error"
        elif report.skipped and hasattr(report, "wasxfail"):
            self._outcomes[name] = "differs"
        elif report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self._outcomes[name] = reason.replace("Skipped: ", "skipped: ", 1)
        elif report.when == "call":
            self._outcomes[name] = "passed"

    def pytest_sessionfinish(self) -> None:
        """Write the record; nothing in it changes between two runs with the same outcomes."""
        if self._file is None or self.broker is None:
            return
        properties = self.broker.server_properties
        record = {
            "broker": {key: properties.get(key) for key in ("product", "version", "platform")},
            "outcomes": dict(sorted(self._outcomes.items())),
        }
        self._file.write_text(json.dumps(record, indent=1) + "\n")
