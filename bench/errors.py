"""What ends a measurement."""


class BenchError(Exception):
    """The measurement cannot go on; the text is one line."""
