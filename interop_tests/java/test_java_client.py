"""The RabbitMQ Java client, as Debian packages it; the checks themselves are in Checks.java."""

from __future__ import annotations

import re

import pytest

from interop_tests.broker_under_test import BrokerUnderTest
from interop_tests.check_program import CheckReport, run_check_program
from interop_tests.java.program import FOLDER, java_command

CHECKS = re.findall(r'^\s+check\("([^"]+)"', (FOLDER / "Checks.java").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def report(broker: BrokerUnderTest) -> CheckReport:
    """The report of one run of all checks."""
    return run_check_program(java_command("Checks"), FOLDER, broker)


@pytest.mark.parametrize("check", CHECKS)
def test_java_client(report: CheckReport, check: str) -> None:
    report.assert_passed(check)
