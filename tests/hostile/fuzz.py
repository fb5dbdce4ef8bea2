"""A long run of hostile inputs: ``python -m tests.hostile.fuzz --inputs 100000 --seeds 1 2 3``.

Starts a broker of its own. The same seed gives the same inputs, so what it finds can be found again:
``--seeds 7 --from 1234 --inputs 1``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.hostile.campaign import run_campaign
from tests.server.process import running_broker


def main() -> None:
    """Run the campaigns."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000, help="inputs for each seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--from", dest="first", type=int, default=0, help="number of the first input")
    parser.add_argument("--durable", action="store_true", help="with a data directory, not in memory")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        data_dir = folder / "data" if chosen.durable else None
        broker = stack.enter_context(running_broker(folder, data_dir=data_dir))
        for seed in chosen.seeds:
            started = time.monotonic()
            outcome = run_campaign(broker, seed, chosen.inputs, chosen.first)
            print(f"seed {seed}: {outcome}; {time.monotonic() - started:.0f} s", flush=True)
        if data_dir is not None:
            stack.close()
            with running_broker(folder, data_dir=data_dir) as again:
                again.assert_unharmed()
                print("what was left is recovered")


if __name__ == "__main__":
    main()
