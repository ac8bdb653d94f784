"""TFRecords: both checksums, and never a wrong pixel, whatever happens to the bytes."""

import io
import struct

import google_crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreframe.data.sources.bair import BairSource
from foreframe.data.sources.rlds import RldsSource
from foreframe.data.sources.source import RawRecording, UnusableError
from foreframe.data.sources.tfrecord import (
    Damage,
    Example,
    Record,
    encode_example,
    frame_record,
    masked_crc,
    read_records,
    record_offsets,
)
from foreframe.errors import ForeframeError

RECORDS = [b"first", b"", b"the third " * 50, bytes(300), b"last"]


def file_of(records):
    return b"".join(frame_record(record) for record in records)


def read(data):
    return list(read_records(io.BytesIO(data), 0, len(data)))


def payloads(data):
    return [item.payload for item in read(data) if isinstance(item, Record)]


def test_the_checksum_is_the_published_one():
    """CRC-32C of nine digits is known (RFC 3720 lists its like); the mask is undone by hand."""
    assert google_crc32c.value(b"123456789") == 0xE3069283
    rotated = (masked_crc(b"123456789") - 0xA282EAD8) & 0xFFFFFFFF
    assert (rotated >> 17 | rotated << 15) & 0xFFFFFFFF == 0xE3069283


def test_records_come_back_in_order():
    assert payloads(file_of(RECORDS)) == RECORDS


def test_the_framing_is_length_checksum_payload_checksum():
    framed = frame_record(b"abc")
    assert framed[:8] == struct.pack("<Q", 3)
    assert framed[12:15] == b"abc"
    assert len(framed) == 3 + 16


@pytest.mark.parametrize("where", [0, 3, 7, 8, 11])
def test_a_damaged_header_costs_its_record_alone(where):
    data = bytearray(file_of(RECORDS))
    begin = len(file_of(RECORDS[:2]))
    data[begin + where] ^= 0x10
    found = read(bytes(data))
    assert payloads(bytes(data)) == [*RECORDS[:2], *RECORDS[3:]]
    assert [type(item) for item in found] == [Record, Record, Damage, Record, Record]
    assert found[2].offset == begin
    assert "length" in found[2].reason or "cut" in found[2].reason


@pytest.mark.parametrize("where", [12, 200, -1, -4])
def test_a_damaged_payload_or_checksum_costs_its_record_alone(where):
    records = [frame_record(record) for record in RECORDS]
    damaged = bytearray(records[2])
    damaged[where] ^= 1
    found = read(b"".join([*records[:2], bytes(damaged), *records[3:]]))
    assert isinstance(found[2], Damage)
    assert "payload" in found[2].reason
    assert [item.payload for item in found if isinstance(item, Record)] == [
        *RECORDS[:2],
        *RECORDS[3:],
    ]


def test_a_file_cut_anywhere_keeps_what_is_whole():
    data = file_of(RECORDS)
    ends = np.cumsum([len(frame_record(record)) for record in RECORDS])
    for cut in range(len(data)):
        whole = int((ends <= cut).sum())
        found = read(data[:cut])
        assert payloads(data[:cut]) == RECORDS[:whole]
        at_an_end = cut == 0 or cut in ends
        assert any(isinstance(item, Damage) for item in found) == (not at_an_end)


def test_offsets_agree_with_the_records_also_in_damaged_files():
    data = bytearray(file_of(RECORDS))
    data[len(file_of(RECORDS[:2])) + 3] ^= 0x10
    file = io.BytesIO(bytes(data))
    offsets = list(record_offsets(file, 0, len(data)))
    assert offsets == [item.offset for item in read_records(file, 0, len(data))]


@given(st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_read_to_the_end(data):
    for item in read(data):
        if isinstance(item, Record):
            assert frame_record(item.payload) in data


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_payload_is_an_example_or_is_refused(payload):
    try:
        example = Example(payload)
        for name in example:
            example.kind(name)
    except UnusableError:
        pass


def test_features_come_back_with_their_kinds():
    example = Example(
        encode_example(
            {
                "picture": b"\x00\xff",
                "numbers": np.array([1.5, -2], np.float32),
                "counts": np.array([3, -4, 5]),
            }
        )
    )
    assert list(example) == ["counts", "numbers", "picture"]
    assert example.bytes_list("picture")[0] == b"\x00\xff"
    assert example.numbers("numbers").tolist() == [1.5, -2]
    assert example.numbers("counts").tolist() == [3, -4, 5]
    assert example.kind("counts") == "int64[3]"
    with pytest.raises(UnusableError, match="no feature other"):
        example.numbers("other")
    with pytest.raises(UnusableError, match=r"picture is bytes\[1\]"):
        example.numbers("picture")


# -- mutations of record files ------------------------------------------------------------------


def bair_example(seed, frames=30, camera=("aux1", "main")):
    random = np.random.default_rng(seed)
    features = {}
    for t in range(frames):
        for name in camera:
            features[f"{t}/image_{name}/encoded"] = random.bytes(64 * 64 * 3)
        features[f"{t}/action"] = random.normal(size=4).astype(np.float32)
        features[f"{t}/endeffector_pos"] = random.normal(size=3).astype(np.float32)
    return features


def good(source):
    """Content of each recording that is read, by its name."""
    found = {}
    for part in source.parts():
        for item in source.read(part):
            if isinstance(item, RawRecording):
                try:
                    frames = np.stack(list(item.frames))
                except ForeframeError:
                    continue
                rows = (item.actions, item.positions)
                found[item.name] = (
                    frames.tobytes(),
                    *(None if row is None else row.tobytes() for row in rows),
                )
    return found


def mutations(data, count, seed):
    """Copies of ``data`` with a few bits flipped, bytes replaced, cut, or doubled."""
    random = np.random.default_rng(seed)
    for k in range(count):
        changed = bytearray(data)
        kind = k % 4
        at = int(random.integers(len(data)))
        if kind == 0:
            changed[at] ^= 1 << int(random.integers(8))
        elif kind == 1:
            stop = min(len(data), at + int(random.integers(1, 64)))
            changed[at:stop] = random.bytes(stop - at)
        elif kind == 2:
            del changed[at : at + int(random.integers(1, 5000))]
        else:
            changed[at:at] = changed[at : at + int(random.integers(1, 64))] or b"\0"
        yield bytes(changed)


def unchanged_or_unread(source, path, data, count, seed):
    """No mutation may crash, or change what is read of a recording."""
    path.write_bytes(data)
    contents = set(good(source).values())
    survived = 0
    for changed in mutations(data, count, seed):
        path.write_bytes(changed)
        try:
            found = good(source)
        except ForeframeError:
            continue
        # Records after the damage may be counted otherwise, so names are not compared.
        assert set(found.values()) <= contents
        survived += len(found)
    return survived


def test_mutated_bair_files_never_give_other_pixels(tmp_path):
    small = [encode_example(bair_example(seed, frames=2, camera=("aux1",))) for seed in range(3)]
    path = tmp_path / "traj_0_to_255.tfrecords"
    survived = unchanged_or_unread(BairSource(path), path, file_of(small), 2400, 0)
    assert survived > 2400  # most of what was not hit is kept


def test_mutated_bridge_files_never_give_other_pixels(tmp_path, bridge):
    data = next(bridge.glob("*.tfrecord-*")).read_bytes()
    file = io.BytesIO(data)
    few = b"".join(
        frame_record(item.payload)
        for item, _ in zip(read_records(file, 0, len(data)), range(3), strict=False)
    )
    path = tmp_path / "bridge_dataset-train.tfrecord-00000-of-00001"
    source = RldsSource(path, image="image_0", position="state[:3]")
    assert unchanged_or_unread(source, path, few, 400, 1) > 400


def test_mutated_messages_with_right_checksums_are_read_or_refused(tmp_path):
    """Beyond what a checksum can find: nothing crashes, and shapes hold."""
    payload = encode_example(bair_example(0, frames=2, camera=("aux1",)))
    path = tmp_path / "traj_0_to_255.tfrecords"
    source = BairSource(path)
    for changed in mutations(payload, 400, 2):
        path.write_bytes(frame_record(changed))
        for item in source.read(source.parts()[0]):
            if isinstance(item, RawRecording):
                assert item.frames.shape[1:] == (64, 64, 3)
                assert item.actions.shape == (len(item.frames), 4)
