"""Clients that come as Debian packages: installed where that is possible, else the tests are skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

_ENVIRONMENT = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}


def require(package: str, provides: str) -> None:
    """Make sure that a package is installed, or skip with the reason.

    What the package provides is a command to be found on the path, or the full name of a file.
    """
    if is_there(provides):
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        pytest.skip(f"{provides} is missing; `apt-get install {package}` as root brings it")
    for arguments in (["install"], ["update"], ["install"]):
        command = ["apt-get", "-y", "--no-install-recommends", *arguments]
        command += [package] if arguments == ["install"] else []
        subprocess.run(
            command, env=_ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
        )
        if is_there(provides):
            return
    pytest.skip(f"{provides} is missing and `apt-get install {package}` failed")


def is_there(provides: str) -> bool:
    """Return whether a command or file exists."""
    return Path(provides).exists() if "/" in provides else shutil.which(provides) is not None
