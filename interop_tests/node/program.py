"""What amqplib needs, and running check programs that use it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
INSTALL_SECONDS = 120


def node_command(program: str) -> list[str]:
    """Return the command that runs a program; skip where Node.js or amqplib cannot be had."""
    for command in ("node", "npm"):
        if shutil.which(command) is None:
            pytest.skip(f"there is no {command} here")
    _install_amqplib()
    return ["node", program]


def _install_amqplib() -> None:
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
