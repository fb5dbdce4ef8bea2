"""Checks written in another language: one program makes them all, and pytest shows each as a test.

A check program gets the broker's URL and a prefix for names as its arguments. It prints a line per check,
`ok <name>` or `failed <name>: <why>`, and exits with 0 if it came to its end.
"""

from __future__ import annotations

import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path

from interop_tests.broker_under_test import BrokerUnderTest

SECONDS = 90
MISSING = "the program did not come to this check"


@dataclass(frozen=True)
class CheckReport:
    """What a check program printed."""

    failures: dict[str, str | None]
    """Each check that was made, with the reason if it failed."""
    exit_code: int
    errors: str
    """The standard error of the program."""

    def assert_passed(self, check: str) -> None:
        """Fail if a check failed or was not made."""
        problem = self.failures.get(check, f"{MISSING}; exit code {self.exit_code}\n{self.errors}")
        assert problem is None, problem


def run_check_program(command: list[str], folder: Path, broker: BrokerUnderTest) -> CheckReport:
    """Run a check program against the broker and return what it reported."""
    return run_program([*command, broker.explicit_url, f"interop.{secrets.token_hex(4)}"], folder)


def run_program(command: list[str], folder: Path) -> CheckReport:
    """Run a check program that gets arguments of its own, and return what it reported."""
    try:
        result = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired as expired:
        output = expired.stdout.decode() if isinstance(expired.stdout, bytes) else str(expired.stdout or "")
        return CheckReport(parse(output), -1, f"not finished within {SECONDS} s")
    return CheckReport(parse(result.stdout), result.returncode, result.stderr[-4000:])


def parse(output: str) -> dict[str, str | None]:
    """Return the checks of an output, each with its failure or None."""
    failures: dict[str, str | None] = {}
    for line in output.splitlines():
        verdict, _, rest = line.partition(" ")
        if verdict == "ok":
            failures[rest] = None
        elif verdict == "failed":
            name, _, why = rest.partition(": ")
            failures[name] = why
    return failures
