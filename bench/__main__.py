"""``python -m bench``, which is ``make bench``."""

import sys

from bench.compare import main

if __name__ == "__main__":
    sys.exit(main())
