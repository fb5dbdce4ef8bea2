"""The RabbitMQ Java client, as Debian packages it; the checks themselves are in Checks.java."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from interop_tests import debian
from interop_tests.broker_under_test import BrokerUnderTest
from interop_tests.check_program import CheckReport, run_check_program

FOLDER = Path(__file__).parent
SOURCE = FOLDER / "Checks.java"
BUILD = FOLDER / "build"
CHECKS = re.findall(r'^\s+check\("([^"]+)"', SOURCE.read_text(), re.MULTILINE)
JARS = [Path("/usr/share/java") / name for name in ("amqp-client.jar", "slf4j-api.jar", "slf4j-nop.jar")]
COMPILE_SECONDS = 120


@pytest.fixture(scope="module")
def report(broker: BrokerUnderTest) -> CheckReport:
    """The report of one run of all checks."""
    for command in ("java", "javac"):
        if shutil.which(command) is None:
            pytest.skip(f"there is no {command} here")
    debian.require("librabbitmq-client-java", str(JARS[0]))
    debian.require("libslf4j-java", str(JARS[1]))
    class_path = ":".join(map(str, [BUILD, *JARS]))
    compile_checks(class_path)
    # One small serial heap: the checks share the machine with the broker.
    return run_check_program(
        ["java", "-XX:+UseSerialGC", "-Xmx256m", "-cp", class_path, "Checks"], FOLDER, broker
    )


def compile_checks(class_path: str) -> None:
    """Compile the program unless its classes are newer than its source."""
    compiled = BUILD / "Checks.class"
    if compiled.exists() and compiled.stat().st_mtime >= SOURCE.stat().st_mtime:
        return
    result = subprocess.run(
        ["javac", "-Xlint:all,-serial,-try", "-cp", class_path, "-d", str(BUILD), str(SOURCE)],
        capture_output=True,
        text=True,
        timeout=COMPILE_SECONDS,
        check=False,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("check", CHECKS)
def test_java_client(report: CheckReport, check: str) -> None:
    report.assert_passed(check)
