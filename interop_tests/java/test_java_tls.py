"""The RabbitMQ Java client over TLS; the checks themselves are in TlsChecks.java."""

from __future__ import annotations

import re

import pytest

from interop_tests.check_program import CheckReport, run_program
from interop_tests.java.program import FOLDER, java_command
from interop_tests.tls_broker import TlsBroker

CHECKS = re.findall(r'^\s+check\("([^"]+)"', (FOLDER / "TlsChecks.java").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def report(secured: TlsBroker) -> CheckReport:
    """The report of one run of all checks."""
    return run_program([*java_command("TlsChecks"), *secured.arguments], FOLDER)


@pytest.mark.parametrize("check", CHECKS)
def test_java_tls(report: CheckReport, check: str) -> None:
    report.assert_passed(check)
