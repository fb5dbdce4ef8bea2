"""``python -m harebell.perf``."""

from harebell.perf.command import perf

if __name__ == "__main__":
    perf(prog_name="harebell perf")
