"""The pager against a dictionary, and with its thread on a real disk."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harebell.content.message import Message, address
from harebell.paging import Page, journal_location
from harebell.storage.files import DiskFiles, Files
from harebell.storage.journal import WriteAheadLog
from harebell.storage.pager import DiskPager
from harebell.storage.segments import Segments
from tests.storage.fake_disk import FakeDisk
from tests.storage.pager_rig import Content, Rig, Taken, Told, contents

STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["journaled", "transient", "mixed", "shared", "move", "fetch", "read", "forget", "commit", "full"]
        ),
        st.integers(0, 1 << 30),
    ),
    max_size=40,
)


class Model:
    """Pages beside what they must hold."""

    def __init__(self) -> None:
        self.spill = FakeDisk()
        self.rig = Rig(FakeDisk(), self.spill, segment_bytes=3000, spill_bytes=2000)
        self.pages: list[tuple[Page, list[Content | None]]] = []
        self.asked: list[tuple[Page, list[Content | None]]] = []
        self.taken = Taken()
        self.last: list[Message] = []

    def step(self, what: str, number: int) -> None:
        """Do one thing."""
        chance = random.Random(number)
        if what in ("journaled", "transient", "mixed", "shared"):
            self.add(what, chance)
        elif what == "commit":
            self.rig.work()
            self.check_taken()
        elif what == "full":
            self.spill.space = None if self.spill.space is not None else chance.randint(0, 500)
        elif self.pages:
            page, expected = chance.choice(self.pages)
            if what == "fetch":
                self.rig.pager.fetch(page, self.taken)
                self.asked.append((page, expected))
            elif what == "read":
                assert contents(self.rig.pager.read(page)) == expected
            elif what == "move" and page.claims and not page.spilled:
                self.rig.copy_forward(page)
            elif what == "forget":
                self.check_taken()
                self.rig.pager.forget(page)
                self.pages = [one for one in self.pages if one[0] is not page]
                self.asked = [(p, [] if p is page else e) for p, e in self.asked]

    def add(self, what: str, chance: random.Random) -> None:
        """Page some messages."""
        rig = self.rig
        made: list[Message] = self.last if what == "shared" else []
        for _ in range(chance.randint(1, 6) if what != "shared" else 0):
            journaled = what == "journaled" or (what == "mixed" and chance.random() < 0.5)
            body = chance.randbytes(chance.choice([0, 10, 300, 20_000]))
            made.append(rig.journaled(body) if journaled else rig.message(body))
        rig.commit()
        if not made:
            return
        page = rig.pager.write(
            rig.entries(made, gap=chance.randint(0, 1)), what not in ("shared", "transient")
        )
        if page is None:
            assert rig.told.full[-1:] == [True], "refused to page for no reason"
            return
        self.last = made
        self.pages.append((page, contents(made)))

    def check_taken(self) -> None:
        """Compare what arrived with what was asked."""
        arrived = len(self.taken.pages)
        assert self.taken.pages == [page for page, _ in self.asked[:arrived]]
        assert [contents(found) for found in self.taken.messages] == [e for _, e in self.asked[:arrived]]
        del self.asked[:arrived]
        self.taken.pages.clear()
        self.taken.messages.clear()

    def finish(self) -> None:
        """Let everything come, and go."""
        self.spill.space = None
        self.rig.work()
        self.check_taken()
        assert self.asked == []
        for page, expected in self.pages:
            assert contents(self.rig.pager.read(page)) == expected
            self.rig.pager.forget(page)
        self.rig.work()
        assert self.rig.told.damaged == []
        assert self.rig.pager.pending == 0
        assert len(self.spill.files) <= 1, "files that nobody needs are left"
        self.rig.stop()


@settings(max_examples=120, deadline=None)
@given(STEPS)
def test_pages_hold_what_was_paged_whatever_happens_to_them(steps: list[tuple[str, int]]) -> None:
    model = Model()
    for what, number in steps:
        model.step(what, number)
    model.finish()


class Threaded:
    """A pager with its thread, whose loop is the test's thread."""

    def __init__(self, folder: Path, spill: Files) -> None:
        self.changed = threading.Condition()
        self.calls: list[Callable[[], object]] = []
        self.told = Told()
        files = DiskFiles(folder / "journal")
        segments = Segments([0])
        self.journal = WriteAheadLog(0, segments)
        self.pager = DiskPager(files, spill, segments, self.journal, 0, 100_000, retry_seconds=0.005)
        self.pager.begin(self._call_soon, self.told.reports())

    def _call_soon(self, function: Callable[..., object], *arguments: object) -> None:
        with self.changed:
            self.calls.append(lambda: function(*arguments))
            self.changed.notify()

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Run the loop until something is so."""
        deadline = time.monotonic() + 20
        while not condition():
            with self.changed:
                assert self.changed.wait_for(lambda: self.calls, deadline - time.monotonic()), (
                    f"never: {what}"
                )
                calls, self.calls = self.calls, []
            for call in calls:
                call()


@pytest.fixture
def fake_spill() -> FakeDisk:
    return FakeDisk()


def test_with_its_thread_pages_come_back_from_a_real_disk(tmp_path: Path) -> None:
    open_before = len(os.listdir("/dev/fd"))
    spill = DiskFiles(tmp_path / "spill")
    threaded = Threaded(tmp_path, spill)
    pager, taken = threaded.pager, Taken()
    bodies = [[b"%d %d" % (page, n) * 10 for n in range(200)] for page in range(40)]
    pages = []
    for group in bodies:
        entries = [(n + 1, Message(address("", "q"), b"h", body, False), 0) for n, body in enumerate(group)]
        page = pager.write(entries, False)
        assert page is not None
        pages.append(page)
        pager.flush()
        pager.fetch(page, taken)
    threaded.until(lambda: len(taken.pages) == len(pages), "all pages read")
    assert taken.pages == pages
    assert [[m.body for m in found if m] for found in taken.messages] == bodies
    threaded.until(lambda: pager.pending == 0, "all written")
    assert [m.body for m in pager.read(pages[3]) if m] == bodies[3]
    assert len(spill.names()) > 3
    for page in pages:
        pager.forget(page)
    last = pages[-1]
    taken.pages.clear()
    pager.fetch(last, taken)
    threaded.until(lambda: taken.pages, "the thread did everything before")
    pager.stop()
    assert spill.names() == []
    assert len(os.listdir("/dev/fd")) == open_before, "files are left open"
    assert (threaded.told.damaged, threaded.told.failed) == ([], [])


def test_with_its_thread_a_full_disk_is_tried_again_by_itself(tmp_path: Path, fake_spill: FakeDisk) -> None:
    fake_spill.space = 0
    threaded = Threaded(tmp_path, fake_spill)
    pager = threaded.pager
    message = Message(address("", "q"), b"h", b"body", False)
    assert pager.write([(1, message, 0)], False) is not None
    pager.flush()
    threaded.until(lambda: threaded.told.full == [True], "told full")
    fake_spill.space = None
    threaded.until(lambda: threaded.told.full == [True, False], "told that there is space")
    assert pager.pending == 0
    pager.stop()


def test_a_thread_ends_although_the_disk_is_full(tmp_path: Path, fake_spill: FakeDisk) -> None:
    fake_spill.space = 0
    threaded = Threaded(tmp_path, fake_spill)
    message = Message(address("", "q"), b"h", b"body", False)
    assert threaded.pager.write([(1, message, 0)], False) is not None
    threaded.pager.flush()
    threaded.pager.stop()
    assert fake_spill.names() == []


def test_locations_of_the_journal_are_even() -> None:
    assert journal_location(21) == 42
