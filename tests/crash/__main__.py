"""All crash tests for longer than the test suite does: random kills, named points, full disks, damaged files.

``python -m tests.crash --rounds 200 --features 100 --points 5 --trials 1000 --seed 7``; 0 leaves a part out.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.crash import damage, features, full_disk, marked, points, rounds
from tests.crash.rounds import Broken


def main() -> int:
    """Run what the command line asks for; stop at the first part that fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="kills at random moments")
    parser.add_argument("--features", type=int, default=100, help="kills while queues retry, pause ...")
    parser.add_argument("--points", type=int, default=3, help="how often all named points and full disks")
    parser.add_argument("--trials", type=int, default=300, help="damaged data directories")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    arguments = parser.parse_args()
    seed = arguments.seed
    failed = rounds.run(seed, arguments.rounds, None) if arguments.rounds else 0
    # Small segments come and go all the time, which needs other code than one large segment does.
    failed = failed or (rounds.run(seed + 1, arguments.rounds, 100_000) if arguments.rounds else 0)
    failed = failed or (features.run(seed, arguments.features) if arguments.features else 0)
    failed = failed or points.run(seed, arguments.points)
    failed = failed or _full_disks(seed, arguments.points)
    failed = failed or (damage.run(seed, range(arguments.trials)) if arguments.trials else 0)
    return failed or (marked.run(seed, arguments.trials) if arguments.trials else 0)


def _full_disks(seed: int, times: int) -> int:
    for number in range(seed, seed + times):
        for name in full_disk.FULL:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    full_disk.run(Path(folder), number, name)
                except (Broken, AssertionError) as error:
                    print(
                        f"a full disk {name}: {error}\n"
                        "replay: python -m tests.crash --rounds 0 --features 0 --trials 0 "
                        f"--seed {number} --points 1",
                        flush=True,
                    )
                    return 1
        print(f"{len(full_disk.FULL)} full disks (seed {number}): nothing confirmed was lost", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
