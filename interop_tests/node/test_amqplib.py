"""amqplib, the usual client for Node.js; the checks themselves are in checks.mjs."""

from __future__ import annotations

import re

import pytest

from interop_tests.broker_under_test import BrokerUnderTest
from interop_tests.check_program import CheckReport, run_check_program
from interop_tests.node.program import FOLDER, node_command

CHECKS = re.findall(r'^check\("([^"]+)"', (FOLDER / "checks.mjs").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def report(broker: BrokerUnderTest) -> CheckReport:
    """The report of one run of all checks."""
    return run_check_program(node_command("checks.mjs"), FOLDER, broker)


@pytest.mark.parametrize("check", CHECKS)
def test_amqplib(report: CheckReport, check: str) -> None:
    report.assert_passed(check)
