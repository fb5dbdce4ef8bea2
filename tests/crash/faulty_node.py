"""``harebell`` on a file layer that fails on command.

``python -m tests.crash.faulty_node CONTROL SEGMENT_BYTES UPKEEP serve --data-dir ...``: ``CONTROL`` is the
control file of ``faults.py``, and need not be there; ``UPKEEP`` are the seconds between two looks at what the
journal may let go of; the rest of the line is that of ``harebell``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from harebell import cli, node
from harebell.settings import Settings
from harebell.storage.data_dir import JOURNAL
from tests.crash.faults import Faults, FaultyFiles
from tests.server.process import environment


def command(
    control: Path, segment_bytes: int, *arguments: str, upkeep: float = node.UPKEEP_SECONDS
) -> list[str]:
    """Give the command line of a faulty node."""
    own = [str(control), str(segment_bytes), str(upkeep)]
    return [sys.executable, "-m", "tests.crash.faulty_node", *own, *arguments]


def environment_of_tests(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give an environment in which the tests can be imported, too."""
    found = environment(settings)
    found["PYTHONPATH"] += os.pathsep + str(Path(__file__).parents[2])
    return found


def main() -> None:
    """Run ``harebell`` with nodes that use faulty files."""
    control, segment_bytes, upkeep, *arguments = sys.argv[1:]
    faults = Faults(Path(control))
    real = node.Node

    def faulty(settings: Settings, data_dir: Path | None = None) -> node.Node:
        assert data_dir is not None, "a faulty node needs --data-dir"
        files = FaultyFiles(data_dir / JOURNAL, faults)
        return real(settings, data_dir, files=files, segment_bytes=int(segment_bytes))

    vars(node)["Node"] = faulty
    vars(node)["UPKEEP_SECONDS"] = float(upkeep)
    cli.main(arguments)


if __name__ == "__main__":
    main()
