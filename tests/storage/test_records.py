"""Records: what is written is read back; damage is told from a torn tail."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harebell.storage.records import (
    COMMAND,
    KINDS,
    SEGMENT_HEAD_SIZE,
    SETTLE,
    BadSegment,
    ForeignSegment,
    Gap,
    Record,
    decode_segment_head,
    encode_record,
    encode_segment_head,
    walk,
)

RECORDS = st.lists(
    st.tuples(st.sampled_from(sorted(KINDS)), st.binary(max_size=300)), min_size=1, max_size=12
)


def written(records: list[tuple[int, bytes]], base: int) -> tuple[bytes, list[Record]]:
    """Encode records one behind the other and list what a reader should find."""
    data, expected = b"", []
    for kind, payload in records:
        lsn = base + len(data)
        data += encode_record(lsn, kind, payload)
        expected.append(Record(lsn, kind, payload))
    return data, expected


@given(RECORDS, st.integers(0, 2**40))
def test_records_are_read_back_as_they_were_written(records: list[tuple[int, bytes]], base: int) -> None:
    data, expected = written(records, base)
    assert list(walk(data, 0, base)) == expected
    assert expected[-1].end == base + len(data)


@given(RECORDS, st.data())
def test_a_cut_anywhere_is_a_torn_tail_and_loses_nothing_before_it(
    records: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    octets, expected = written(records, 0)
    cut = data.draw(st.integers(0, len(octets) - 1))
    found = list(walk(octets[:cut], 0, 0))
    whole = [record for record in expected if record.end <= cut]
    assert found[: len(whole)] == whole
    rest = found[len(whole) :]
    end = whole[-1].end if whole else 0
    assert rest == ([] if end == cut else [Gap(end, cut, True)])


@given(RECORDS, st.data())
def test_a_flipped_bit_costs_the_record_it_hits_and_no_other(
    records: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    octets, expected = written(records, 7)
    bit = data.draw(st.integers(0, len(octets) * 8 - 1))
    flipped = bytearray(octets)
    flipped[bit // 8] ^= 1 << (bit % 8)
    hit = next(i for i, record in enumerate(expected) if bit // 8 < record.end - 7)
    found = list(walk(bytes(flipped), 0, 7))
    survivors = [record for record in found if isinstance(record, Record)]
    assert survivors == expected[:hit] + expected[hit + 1 :]
    gaps = [gap for gap in found if isinstance(gap, Gap)]
    assert gaps == [Gap(expected[hit].lsn, expected[hit].end, hit == len(expected) - 1)]


def test_a_record_is_valid_only_where_it_was_written() -> None:
    record = encode_record(100, COMMAND, b"declare")
    assert list(walk(record, 0, 100)) == [Record(100, COMMAND, b"declare")]
    assert list(walk(record, 0, 101)) == [Gap(101, 101 + len(record), True)]


def test_a_record_is_valid_only_as_the_kind_it_was_written_as() -> None:
    record = bytearray(encode_record(0, COMMAND, b"x" * 20))
    record[1] = SETTLE
    assert list(walk(bytes(record), 0, 0)) == [Gap(0, len(record), True)]


@pytest.mark.parametrize("size", range(SEGMENT_HEAD_SIZE))
def test_a_cut_segment_head_is_refused(size: int) -> None:
    with pytest.raises(BadSegment):
        decode_segment_head(encode_segment_head(5, 6)[:size])


def test_a_segment_head_names_its_base_and_its_node() -> None:
    assert decode_segment_head(encode_segment_head(2**40, 2**62)) == (2**40, 2**62)


def test_a_newer_format_is_refused_in_words() -> None:
    head = struct.pack(">4sHBBQQ", b"HBWL", 2, 1, 0, 0, 1)
    with pytest.raises(ForeignSegment, match="newer harebell"):
        decode_segment_head(head + struct.pack(">I", zlib.crc32(head)) + bytes(4))


def test_a_flipped_bit_in_a_segment_head_is_damage_and_no_newer_format() -> None:
    head = encode_segment_head(3, 5)
    for bit in range((SEGMENT_HEAD_SIZE - 4) * 8):
        flipped = bytearray(head)
        flipped[bit // 8] ^= 1 << (bit % 8)
        with pytest.raises(BadSegment) as caught:
            decode_segment_head(bytes(flipped))
        assert not isinstance(caught.value, ForeignSegment), f"bit {bit}: {caught.value}"
