"""amqplib, the usual client for Node.js; the checks themselves are in checks.mjs."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from interop_tests.broker_under_test import BrokerUnderTest
from interop_tests.check_program import CheckReport, run_check_program

FOLDER = Path(__file__).parent
CHECKS = re.findall(r'^check\("([^"]+)"', (FOLDER / "checks.mjs").read_text(), re.MULTILINE)
INSTALL_SECONDS = 120


@pytest.fixture(scope="module")
def report(broker: BrokerUnderTest) -> CheckReport:
    """The report of one run of all checks."""
    for command in ("node", "npm"):
        if shutil.which(command) is None:
            pytest.skip(f"there is no {command} here")
    install_amqplib()
    return run_check_program(["node", "checks.mjs"], FOLDER, broker)


def install_amqplib() -> None:
    """Install what package-lock.json names, unless it is there already, or skip if that fails."""
    installed = FOLDER / "node_modules" / ".package-lock.json"
    lock = FOLDER / "package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= lock.stat().st_mtime:
        return
    result = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund"],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS,
        check=False,
    )
    if result.returncode != 0:
        pytest.skip(f"`npm ci` failed: {result.stderr.strip()[-300:]}")


@pytest.mark.parametrize("check", CHECKS)
def test_amqplib(report: CheckReport, check: str) -> None:
    report.assert_passed(check)
