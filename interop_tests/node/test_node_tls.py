"""amqplib over TLS; the checks themselves are in tls_checks.mjs."""

from __future__ import annotations

import re

import pytest

from interop_tests.check_program import CheckReport, run_program
from interop_tests.node.program import FOLDER, node_command
from interop_tests.tls_broker import TlsBroker

CHECKS = re.findall(r'^check\("([^"]+)"', (FOLDER / "tls_checks.mjs").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def report(secured: TlsBroker) -> CheckReport:
    """The report of one run of all checks."""
    return run_program([*node_command("tls_checks.mjs"), *secured.arguments], FOLDER)


@pytest.mark.parametrize("check", CHECKS)
def test_node_tls(report: CheckReport, check: str) -> None:
    report.assert_passed(check)
