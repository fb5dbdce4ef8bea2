"""After a power cut at any operation a log is the beginning of what was appended, with all stored."""

from __future__ import annotations

import random

import pytest

from harebell.storage.streams.segment_files import parse_name
from tests.storage.fake_disk import FakeDisk, PowerCut
from tests.storage.streams.stream_rig import DiskPlace, Found, append, read

STREAMS = (1, 2)


class Model:
    """What is known of one stream.

    Attributes:
        appended: all that was ever appended and not lost.
        stored: everything before was told to be durable.
        first: retention deleted what is before.
    """

    def __init__(self) -> None:
        self.appended: Found = []
        self.stored = 0
        self.first = 0


class History:
    """A folder that lives several times."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.disk = FakeDisk()
        self.models = {queue_id: Model() for queue_id in STREAMS}
        self.cuts = 0

    def live(self) -> None:
        """Start, check what is there, work until the power goes or stop in order."""
        disk, chance = self.disk, self.chance
        left = chance.randint(1, 120)

        def before(kind: str, name: str) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise PowerCut()

        disk.before = before
        disk.space = None
        disk.short_writes = chance.choice([None, random.Random(chance.random())])
        try:
            self._live()
            disk.before = None
        except PowerCut:
            self.cuts += 1
            disk.before = None
            self.disk = disk.power_cut(chance, block=64)

    def _trimmed(self, name: str) -> bool:
        """Tell whether retention had deleted a segment, which a power cut may bring back, torn."""
        parsed = parse_name(name)
        assert parsed is not None
        return parsed[1] < self.models[parsed[0]].first

    def _live(self) -> None:
        chance = self.chance
        self.disk.readers.clear()
        place = DiskPlace(self.disk, sync_octets=chance.choice([500, 5000, 1 << 40])).begin()
        opened = {queue_id: place.open(queue_id, 1500) for queue_id in STREAMS}
        place.files.forget_others(set(STREAMS))
        assert all(self._trimmed(damage.file) for damage in place.damage)
        for queue_id, (log, _) in opened.items():
            model = self.models[queue_id]
            assert not log.gaps, "no file was deleted but by the log"
            found = read(log, place.work)
            kept = [each for each in model.appended if each[0] < log.next]
            assert [each for each in found if each[0] >= model.first] == [
                each for each in kept if each[0] >= model.first
            ], "it is the beginning of what was appended"
            assert set(found) <= set(kept)
            assert log.next >= model.stored, "what was stored is there"
            model.first = min(model.first, int(log.next))
            # The journal has the rest, or it was never durable.
            rest = [each for each in model.appended if each[0] >= log.next]
            model.appended = kept
            for _, body in rest[: chance.randint(0, len(rest))]:
                model.appended += append(log, body)
        for _ in range(chance.randint(0, 60)):
            queue_id = chance.choice(STREAMS)
            log, told = opened[queue_id]
            model = self.models[queue_id]
            action = chance.random()
            if action < 0.5:
                bodies = [chance.randbytes(chance.choice([3, 50, 400])) for _ in range(chance.randint(1, 3))]
                model.appended += append(log, *bodies, timestamp=5)
            elif action < 0.6:
                log.sync()
            elif action < 0.7:
                log.retain(chance.choice([1000, 4000]), -1)
                model.first = max(model.first, int(log.first))
            elif action < 0.8:
                offset = chance.randint(model.first, int(log.next))
                assert read(log, place.work, offset) == [e for e in model.appended if e[0] >= offset]
            elif action < 0.84:
                self.disk.space = chance.choice([None, None, 0, 300])
            else:
                place.work()
            if told.stored_to:
                assert told.stored_to == sorted(told.stored_to)
                model.stored = told.stored_to[-1]
        if chance.random() < 0.5:
            self.disk.space = None
            place.close()
            for queue_id, (log, _) in opened.items():
                self.models[queue_id].stored = int(log.next)


@pytest.mark.parametrize("seed", range(60))
def test_a_log_is_what_was_appended_up_to_the_cut(seed: int) -> None:
    history = History(seed)
    for _ in range(12):
        history.live()
    assert history.cuts > 2, "the seed does not cut the power"


def test_the_test_notices_a_sync_that_lies() -> None:
    for seed in range(200):
        history = History(seed)
        try:
            for _ in range(8):
                history.disk.skip_sync = True
                history.live()
        except AssertionError:
            return
    raise AssertionError("lost octets are not noticed")
