import io

from harebell.perf.measurement import Counts, Interval
from harebell.perf.progress import ProgressLine, progress_text


def interval(elapsed: float = 2.0, **changes: bool) -> Interval:
    return Interval(
        elapsed=elapsed,
        counts=Counts(at=500_000_000, published=1_000, received=500),
        total=Counts(at=2_000_000_000, published=4_000, received=2_000),
        p50=1_500_000,
        p99=9_000_000,
        warming_up=changes.get("warming_up", False),
        held=changes.get("held", False),
    )


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_shows_the_rates_of_the_interval() -> None:
    assert progress_text(interval()) == (
        "   2.0 s  published 2,000/s  received 1,000/s  p50 1,500 µs, p99 9,000 µs"
    )


def test_a_line_says_when_figures_do_not_count_yet_and_when_the_server_blocks() -> None:
    assert progress_text(interval(warming_up=True, held=True)).endswith("warming up  blocked by the server")


def test_a_terminal_gets_one_line_rewritten() -> None:
    terminal = Terminal()
    line = ProgressLine(terminal)
    line.show(interval(elapsed=1.0, held=True))
    line.show(interval(elapsed=2.0))
    line.finish()
    text = terminal.getvalue()
    assert text.count("\n") == 1
    assert text.endswith("\n")
    first, second = text.split("\r")[1:]
    assert len(second.rstrip("\n")) == len(first), "the shorter line must wipe out the longer one"


def test_a_pipe_gets_plain_lines() -> None:
    pipe = io.StringIO()
    line = ProgressLine(pipe)
    line.show(interval())
    line.show(interval())
    line.finish()
    assert pipe.getvalue() == 2 * (progress_text(interval()) + "\n")
