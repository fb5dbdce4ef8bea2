"""Records: what is written is read back; damage is told from a torn tail."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from librt.strings import BytesWriter

from harebell.content.chunks import RECORD_HEAD_SIZE as RECORD_SIZE
from harebell.content.chunks import encode_chunk
from harebell.paging import journal_location
from harebell.storage.records import (
    CHUNK,
    CHUNK_COVERED,
    COMMAND,
    IN_GROUP,
    KINDS,
    MESSAGE,
    RECORD_HEAD_SIZE,
    SEGMENT_HEAD_SIZE,
    SETTLE,
    SYNCED,
    VERSION,
    BadSegment,
    ForeignSegment,
    Gap,
    Record,
    StoredMessage,
    chunk_covered,
    decode_message,
    decode_returns,
    decode_segment_head,
    encode_message,
    encode_record,
    encode_returns,
    encode_segment_head,
    message_at,
    record_at,
    record_size_at,
    seed,
    walk,
    write_chunk_record,
)


def chunk_payload(records: bytes, queue_id: int = 7) -> bytes:
    """Make the payload of a CHUNK record; what is in the chunk does not matter here."""
    return queue_id.to_bytes(8, "big") + encode_chunk(bytes(RECORD_SIZE) + records, 5, 1, 5, 1000)


RECORDS = st.lists(
    st.tuples(st.sampled_from(sorted(KINDS - {CHUNK})), st.binary(max_size=300))
    | st.tuples(st.just(CHUNK), st.binary(max_size=300).map(chunk_payload)),
    min_size=1,
    max_size=12,
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


MESSAGES = st.builds(
    StoredMessage,
    st.booleans(),
    st.binary(max_size=50),
    st.binary(max_size=50),
    st.one_of(st.binary(max_size=200), st.binary(min_size=1, max_size=50).map(lambda octets: octets * 200)),
    st.lists(st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1)), max_size=4),
    st.integers(0, 2**62),
)


@given(MESSAGES)
def test_a_message_payload_is_decoded_as_it_was_encoded(message: StoredMessage) -> None:
    assert decode_message(encode_message(message)) == message


@given(MESSAGES, st.integers(0, 2**40), st.binary(max_size=40), st.sampled_from([0, IN_GROUP]))
def test_a_message_is_read_back_by_its_location_alone(
    stored: StoredMessage, lsn: int, before: bytes, start: int
) -> None:
    record = encode_record(lsn, MESSAGE, encode_message(stored), 0, start)
    data = before + record + b"behind"
    message = message_at(data, len(before), lsn)
    assert message is not None
    assert (message.address, message.header, message.body) == (stored.address, stored.header, stored.body)
    assert (message.persistent, message.arrived) == (stored.persistent, stored.arrived)
    assert (message.location, message.share) == (
        journal_location(lsn),
        len(record) // max(1, len(stored.enqueues)),
    )
    assert record_size_at(data, len(before)) == len(record)
    assert message_at(data, len(before), lsn + 2) is None, "it is valid only where it was written"
    assert message_at(data[: -len(b"behind") - 1], len(before), lsn) is None, "the octets end before it does"


@given(MESSAGES, st.sampled_from([0, IN_GROUP]), st.data())
def test_a_message_with_a_flipped_bit_is_never_read_back(
    stored: StoredMessage, start: int, data: st.DataObject
) -> None:
    octets = bytearray(encode_record(12, MESSAGE, encode_message(stored), 0, start))
    bit = data.draw(st.integers(0, len(octets) * 8 - 1))
    octets[bit // 8] ^= 1 << (bit % 8)
    assert message_at(bytes(octets) + bytes(100), 0, 12) is None


@pytest.mark.parametrize("kind", sorted(KINDS - {MESSAGE}))
def test_no_other_record_is_taken_for_a_message(kind: int) -> None:
    assert message_at(encode_record(0, kind, bytes(15)), 0, 0) is None
    assert message_at(encode_record(0, kind, b""), 0, 0) is None


@pytest.mark.parametrize("payload", [b"", bytes(14), bytes(14) + b"\x01", b"\x02" + bytes(14), b"\xff" * 31])
def test_a_valid_record_that_is_no_sound_message_is_none(payload: bytes) -> None:
    assert message_at(encode_record(0, MESSAGE, payload), 0, 0) is None


def test_the_size_of_a_record_is_told_by_its_head() -> None:
    record = encode_record(0, COMMAND, bytes(100))
    assert [record_size_at(record[:size], 0) for size in (0, 11, 12, 50)] == [12, 12, 112, 112]
    assert record_size_at(record, 1) == -1
    assert record_size_at(record, len(record)) == RECORD_HEAD_SIZE
    assert record_size_at(record, -1) == -1
    for kind in (0, max(KINDS) + 1, 255):
        assert record_size_at(record[:1] + bytes([kind]) + record[2:], 0) == -1


def test_a_record_of_a_transaction_is_no_record_of_its_own() -> None:
    inner = encode_record(12, COMMAND, b"declare", 0, IN_GROUP)
    assert record_at(inner, 0, 12) is None


@pytest.mark.parametrize("payload", [b"", b"declare"])
def test_the_synced_mark_cannot_flip_unseen(payload: bytes) -> None:
    for marks in (0, SYNCED):
        record = encode_record(0, COMMAND, payload, marks)
        assert record_at(record, 0, 0) == Record(0, COMMAND, payload)
        for bit in range(16):
            flipped = bytearray(record)
            flipped[2 + bit // 8] ^= 1 << (bit % 8)
            assert record_at(bytes(flipped), 0, 0) is None, f"bit {bit} of marks {marks}"


def test_returns_are_decoded_as_they_were_encoded() -> None:
    entries = [(1, 2, 3), (2**63, 2**40, 2**32 - 1)]
    assert decode_returns(encode_returns(entries)) == entries


def test_a_search_behind_damage_comes_to_an_end_whatever_the_octets_are() -> None:
    heads = b"".join(
        b"\xa7\x01\x00\x00" + (2_400_000 - at - 12).to_bytes(4, "big") + bytes(4)
        for at in range(0, 2_400_000, 12)
    )
    assert list(walk(heads, 0, 0)) == [Gap(0, len(heads), True)]


def test_a_message_that_holds_records_hides_nothing_behind_it() -> None:
    inside = b"".join(encode_record(at, COMMAND, b"x" * 8) for at in range(0, 20_000, 20))
    record = bytearray(encode_record(0, MESSAGE, b"." + inside))
    record[20] ^= 1
    behind = encode_record(len(record), COMMAND, b"declare")
    found = list(walk(bytes(record) + behind, 0, 0))
    assert found == [Gap(0, len(record), False), Record(len(record), COMMAND, b"declare")]


@pytest.mark.parametrize("size", range(SEGMENT_HEAD_SIZE))
def test_a_cut_segment_head_is_refused(size: int) -> None:
    with pytest.raises(BadSegment):
        decode_segment_head(encode_segment_head(5, 6)[:size])


def test_a_segment_head_names_its_base_and_its_node() -> None:
    assert decode_segment_head(encode_segment_head(2**40, 2**62)) == (2**40, 2**62)


def test_a_newer_format_is_refused_in_words() -> None:
    head = struct.pack(">4sHBBQQ", b"HBWL", VERSION + 1, 1, 0, 0, 1)
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


def test_every_octet_of_a_chunk_counts_wherever_it_is_summed() -> None:
    record = encode_record(100, CHUNK, chunk_payload(b"some octets"))
    assert record_at(record, 0, 100) is not None
    for at in range(len(record)):
        damaged = bytearray(record)
        damaged[at] ^= 0x10
        found = record_at(bytes(damaged), 0, 100)
        assert found is None, f"octet {at} may change without being noticed"
    assert record_at(record, 0, 101) is None, "it is valid elsewhere"


@pytest.mark.parametrize("octets", [0, 7, 8, CHUNK_COVERED - 1, CHUNK_COVERED])
def test_a_chunk_record_without_a_whole_chunk_is_none(octets: int) -> None:
    assert record_at(encode_record(0, CHUNK, chunk_payload(b"abc")[:octets]), 0, 0) is None


def test_a_chunk_record_ends_with_its_chunk() -> None:
    assert record_at(encode_record(0, CHUNK, chunk_payload(b"abc") + b"d"), 0, 0) is None


def test_the_journal_writes_chunks_as_the_other_encoder_does() -> None:
    payload = chunk_payload(b"some octets", 9)
    w = BytesWriter()
    write_chunk_record(w, chunk_covered(9, payload[8:]), payload[8:], seed(77, CHUNK, 0))
    assert w.getvalue() == encode_record(77, CHUNK, payload)


def test_a_segment_of_the_first_format_is_read() -> None:
    head = struct.pack(">4sHBBQQ", b"HBWL", 1, 1, 0, 4096, 42)
    assert decode_segment_head(head + struct.pack(">I", zlib.crc32(head)) + bytes(4)) == (4096, 42)
