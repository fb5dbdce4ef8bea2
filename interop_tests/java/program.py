"""What the Java client needs, and compiling check programs that use it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from interop_tests import debian

FOLDER = Path(__file__).parent
BUILD = FOLDER / "build"
JARS = [Path("/usr/share/java") / name for name in ("amqp-client.jar", "slf4j-api.jar", "slf4j-nop.jar")]
COMPILE_SECONDS = 120


def java_command(program: str) -> list[str]:
    """Compile a program, and return the command that runs it; skip where Java or the client cannot be had."""
    for command in ("java", "javac"):
        if shutil.which(command) is None:
            pytest.skip(f"there is no {command} here")
    debian.require("librabbitmq-client-java", str(JARS[0]))
    debian.require("libslf4j-java", str(JARS[1]))
    class_path = ":".join(map(str, [BUILD, *JARS]))
    _compile(program, class_path)
    # One small serial heap: the checks share the machine with the broker.
    return ["java", "-XX:+UseSerialGC", "-Xmx256m", "-cp", class_path, program]


def _compile(program: str, class_path: str) -> None:
    """Compile a program unless its classes are newer than its source."""
    source, compiled = FOLDER / f"{program}.java", BUILD / f"{program}.class"
    if compiled.exists() and compiled.stat().st_mtime >= source.stat().st_mtime:
        return
    result = subprocess.run(
        ["javac", "-Xlint:all,-serial,-try", "-cp", class_path, "-d", str(BUILD), str(source)],
        capture_output=True,
        text=True,
        timeout=COMPILE_SECONDS,
        check=False,
    )
    assert result.returncode == 0, result.stderr
