"""MCAP: topics of pictures and numbers matched by their times; what is damaged is words."""

import base64
import sys

import numpy as np
import pytest

from foreframe.commands.app import main
from foreframe.data.imports.importing import ImportOptions, import_dataset
from foreframe.data.sources.listing import tree
from foreframe.data.sources.mcap import McapSource
from foreframe.data.sources.recognise import recognise
from foreframe.data.sources.row_times import match_rows
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.system.workers import Execution
from tests.bags import (
    BEGIN,
    SECOND,
    STAMP,
    TYPES,
    arm,
    compressed,
    film,
    in_time,
    joints,
    png,
    raw,
    write_plain,
    write_ros2,
)
from tests.reading import everything

pytest.importorskip("mcap")
pytest.importorskip("mcap_ros2")

FRAMES = np.random.default_rng(0).integers(0, 256, (12, 16, 20, 3)).astype(np.uint8)
ROWS = np.arange(60)[:, None] + np.arange(3) / 10
"""Row r at 50 Hz is r, r + 0.1, r + 0.2; frame k at 10 Hz is at row 5k."""
ACTION = {"action": "/arm.position"}


@pytest.fixture
def bag(tmp_path):
    write_ros2(tmp_path / "a.mcap", in_time(film(FRAMES), arm(ROWS)))
    return tmp_path / "a.mcap"


def only(source):
    """The one recording, after a look that nothing was skipped."""
    (part,) = source.parts()
    (found,) = source.read(part)
    return found


def imported(source, out, **options):
    options = {"split": "train", "size": 16, **options}
    import_dataset(source, out, ImportOptions(**options), execution=Execution(1), log=len)
    return Store(out / "train")


def refusal(source):
    """Why nothing can be read of it, by whichever way it is said."""
    try:
        found, skips = everything(source)
    except ForeframeError as error:
        return str(error)
    assert not found
    return skips[0].reason


# -- frames and rows ----------------------------------------------------------------------------


def test_a_camera_at_10_hz_beside_rows_at_50_hz(bag):
    found = only(McapSource(bag, action="/arm.position", position="/arm.position[:2]"))
    assert found.name == "a.mcap"
    assert np.array_equal(np.stack(list(found.frames)), FRAMES)
    assert np.allclose(found.times, np.arange(12) / 10)
    assert found.row_of.tolist() == list(range(0, 60, 5))
    assert np.allclose(found.actions, ROWS)
    assert np.allclose(found.positions, ROWS[:, :2])


def test_the_rows_between_frames_become_one_action(bag, tmp_path):
    source = McapSource(bag, position="/arm.position[:2]", **ACTION)
    store = imported(source, tmp_path / "out", resample_actions="last")
    assert np.allclose(store[0].actions[:-1, 0], np.arange(11) * 5 + 4)
    assert np.allclose(store[0].positions[:, 0], np.arange(12) * 5)
    slow = imported(source, tmp_path / "slow", resample_actions="mean", frame_rate=5)
    assert np.allclose(slow[0].actions[:-1, 0], np.arange(5) * 10 + 4.5)


def test_what_is_told_of_it(bag):
    told = McapSource(bag, **ACTION).describe()
    assert told["camera"] == "/cam"
    assert told["frame_rate"] == pytest.approx(10)
    times, matched = told["notes"]
    assert times == (
        "a.mcap: times are those in the headers; by the log they came later: /cam 0.003 s, "
        "/arm 0.001 s"
    )
    assert "12 of 12 frames are matched to 12 of 60 rows, each within 0 s" in matched


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "mono8"])
@pytest.mark.parametrize("padding", [0, 5])
def test_raw_pictures(tmp_path, encoding, padding):
    kind = "sensor_msgs/Image"
    frames = FRAMES[:, :, :, :1].repeat(3, 3) if encoding == "mono8" else FRAMES
    film_of = film(frames, kind=kind, encoding=encoding, padding=padding)
    write_ros2(tmp_path / "a.mcap", film_of)
    assert np.array_equal(np.stack(list(only(McapSource(tmp_path / "a.mcap")).frames)), frames)


def test_jpeg(tmp_path):
    frame = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    content = compressed(BEGIN, frame, "rgb8; jpeg compressed bgr8") | {"data": png(frame, "JPEG")}
    messages = [("/cam", "sensor_msgs/CompressedImage", BEGIN + k, content) for k in range(2)]
    write_ros2(tmp_path / "a.mcap", messages)
    first, _ = only(McapSource(tmp_path / "a.mcap")).frames
    assert np.abs(first.astype(int) - frame).max() < 4


@pytest.mark.parametrize(
    ("kind", "content", "said"),
    [
        ("sensor_msgs/Image", {"encoding": "16UC1"}, "its pixels are 16UC1, and rgb8, bgr8, mono8"),
        ("sensor_msgs/Image", {"height": 17}, "which is not 20x17 as rgb8"),
        ("sensor_msgs/Image", {"width": 0}, "its size is 0x16"),
        ("sensor_msgs/Image", {"data": b"123"}, "it has 3 bytes"),
        ("sensor_msgs/CompressedImage", {"format": "16UC1; compressedDepth png"}, "depth is not"),
        ("sensor_msgs/CompressedImage", {"format": "h264", "data": b"\0\0\1"}, "no picture"),
        ("sensor_msgs/CompressedImage", {"data": png(FRAMES[0], "GIF")}, "no picture"),
        (
            "sensor_msgs/CompressedImage",
            {"data": png(FRAMES[0, :, :, 0].astype(np.uint16) * 100)},
            "16 or 32 bits",
        ),
    ],
)
def test_other_pictures_are_refused_by_name(tmp_path, kind, content, said):
    make = raw if kind == "sensor_msgs/Image" else compressed
    message = make(BEGIN, FRAMES[0]) | content
    write_ros2(tmp_path / "a.mcap", [("/cam", kind, BEGIN, message)])
    with pytest.raises(ForeframeError, match=said) as refused:
        McapSource(tmp_path / "a.mcap").parts()
    assert "/cam" in str(refused.value)


def test_views_of_a_recording_stay_in_one_split(tmp_path):
    for k in range(4):
        side = film(255 - FRAMES, "/side", begin=BEGIN + 20_000_000)
        write_ros2(tmp_path / f"{k}.mcap", in_time(film(FRAMES), side, arm(ROWS)))
    source = McapSource(tmp_path, image="/cam,/side", **ACTION)
    found, skips = everything(source, key=lambda one: (one.name, one.view))
    assert not skips
    assert list(found) == [(f"{k}.mcap", view) for k in range(4) for view in ("/cam", "/side")]
    assert np.array_equal(found["2.mcap", "/side"][0], 255 - FRAMES)
    import_dataset(
        source,
        tmp_path / "out",
        ImportOptions(size=16, validate=0.25, test=0.25, resample_actions="last"),
        execution=Execution(1),
        log=len,
    )
    named = {split: Store(tmp_path / "out" / split).names for split in ("train", "validate")}
    assert [len(names) for names in named.values()] == [4, 2]
    for names in named.values():
        assert {name.replace("/side", "/cam") for name in names} == {
            name for name in names if "/cam" in name
        }


def test_clips_of_a_long_recording(bag, tmp_path):
    store = imported(
        McapSource(bag, **ACTION), tmp_path / "out", clip_frames=5, resample_actions="last"
    )
    assert [len(one.frames) for one in store] == [5, 5]
    assert store[1].actions[:4, 0].tolist() == [29, 34, 39, 44]


# -- clocks -------------------------------------------------------------------------------------


def grip(times, topic="/grip"):
    for k, time in enumerate(times):
        content = {"data": float(k), "closed": k % 2 == 1, "word": "x", "force": [k, 0, 0]}
        yield topic, "example/Grip", time, content


def test_other_topics_count_as_they_were_last_said(tmp_path):
    """The gripper's third command, 2, is said at 0.5 s, that is at row 25."""
    said = [BEGIN - 5, BEGIN + 2_000_000, BEGIN + SECOND // 2, BEGIN + SECOND // 2 + 1]
    write_ros2(tmp_path / "a.mcap", in_time(film(FRAMES), arm(ROWS), grip(said)))
    source = McapSource(tmp_path / "a.mcap", action="/arm.position[:2],/grip.data,/grip.closed")
    found = only(source)
    # Without headers at /grip all times are those of the log: the arm's are 1 ms after its rows.
    assert found.actions[:, 2].tolist() == [0] + [1] * 24 + [3] * 35
    assert found.actions[:, 3].tolist() == [0] + [1] * 59
    clock, held, _ = source.describe()["notes"]
    assert "those of the log, as /grip has none in its headers" in clock
    assert "/grip is taken at the times of /arm, as it was last said, up to 0.681 s" in held


def test_what_is_said_at_the_time_of_a_row_counts(tmp_path):
    write_ros2(tmp_path / "a.mcap", in_time(film(FRAMES), arm(ROWS), arm(-ROWS, "/leg")))
    found = only(McapSource(tmp_path / "a.mcap", action="/arm.position[0],/leg.position[0]"))
    assert np.array_equal(found.actions[:, 0], -found.actions[:, 1])


def test_rows_begin_when_every_topic_has_said_something(tmp_path):
    write_ros2(tmp_path / "a.mcap", in_time(film(FRAMES), arm(ROWS), grip([BEGIN + SECOND // 2])))
    source = McapSource(tmp_path / "a.mcap", action="/arm.position,/grip.data")
    found = only(source)
    assert found.actions[:, 0].tolist() == list(range(25, 60))
    assert found.row_of[:5].tolist() == [-1] * 5
    with pytest.raises(ForeframeError, match="5 of 12 frames have no row of actions"):
        imported(source, tmp_path / "refused", resample_actions="last")
    store = imported(source, tmp_path / "out", resample_actions="last", lengths="shortest")
    assert store[0].actions[0, 0] == 29


def test_the_clock_can_be_chosen(bag, tmp_path):
    assert only(McapSource(bag, clock="log", **ACTION)).row_of.tolist() == list(range(0, 60, 5))
    write_ros2(tmp_path / "b.mcap", in_time(film(FRAMES), grip([BEGIN])))
    source = McapSource(tmp_path / "b.mcap", action="/grip.data", clock="header")
    assert "--clock header: /grip has messages without a time" in refusal(source)


def test_a_camera_with_a_clock_of_its_own(tmp_path):
    """Its header counts seconds since it was switched on."""
    strange = [
        (topic, kind, time, compressed(SECOND * 7 + k * SECOND // 10, FRAMES[k]))
        for k, (topic, kind, time, _) in enumerate(film(FRAMES))
    ]
    write_ros2(tmp_path / "a.mcap", in_time(strange, arm(ROWS)))
    said = refusal(McapSource(tmp_path / "a.mcap", **ACTION))
    assert "not one frame has a row" in said
    assert "--clock log" in said
    found = only(McapSource(tmp_path / "a.mcap", clock="log", **ACTION))
    assert found.row_of.tolist() == list(range(0, 60, 5))


def test_frames_whose_times_fall_are_refused(tmp_path):
    frames = list(film(FRAMES))
    frames[3], frames[4] = ((*frames[k][:3], frames[7 - k][3]) for k in (3, 4))
    write_ros2(tmp_path / "a.mcap", frames)
    assert "the time of frame 4 is before" in refusal(McapSource(tmp_path / "a.mcap"))
    assert len(list(only(McapSource(tmp_path / "a.mcap", clock="log")).frames)) == 12


def test_seconds_of_one_clock_are_no_other_unit():
    """A camera that ran for 2 of the 1000 seconds of a recording."""
    frames, rows = 500 + np.arange(20) / 10, np.arange(10_000) / 10
    assert match_rows(frames, rows, same_clock=True).row_of.tolist() == list(range(5000, 5020))


# -- other encodings ----------------------------------------------------------------------------


def foxglove(time, frame):
    stamp = dict(zip(("sec", "nsec"), divmod(time, SECOND), strict=True))
    return {"timestamp": stamp, "format": "png", "data": base64.b64encode(png(frame)).decode()}


def test_json(tmp_path):
    messages = [
        ("/cam", BEGIN + k, foxglove(BEGIN + k * SECOND // 10, FRAMES[k])) for k in range(9)
    ]
    messages += [
        ("/arm.left", BEGIN + k, {"timestamp": {"sec": BEGIN // SECOND, "nsec": k * 20_000_000},
         "joints": [{"angle": k}, {"angle": -k}]})
        for k in range(41)
    ]  # fmt: skip
    write_plain(tmp_path / "a.mcap", messages)
    found = only(
        McapSource(
            tmp_path / "a.mcap",
            image="/cam",
            action="/arm.left.joints.0.angle,/arm.left.joints.1.angle",
        )
    )
    assert np.array_equal(np.stack(list(found.frames)), FRAMES[:9])
    assert found.row_of.tolist() == list(range(0, 45, 5))
    assert np.allclose(found.actions, np.arange(41)[:, None] * [1, -1])


def test_ros1(tmp_path):
    """The package of its makers writes, and another program reads."""
    dynamic = pytest.importorskip("mcap_ros1._vendor.genpy.dynamic")
    from mcap_ros1.writer import Writer

    def kind(name):
        text = TYPES[name] + (STAMP["ros1"] if "Header" in TYPES[name] else "")
        made = dynamic.generate_dynamic(
            name, text.replace("std_msgs/Header header", "Header header")
        )
        return made[name]

    picture, state, command = map(
        kind, ("sensor_msgs/CompressedImage", "sensor_msgs/JointState", "example/Grip")
    )
    with (tmp_path / "a.mcap").open("wb") as file:
        writer = Writer(file)
        for k in range(45):
            message = state(name=["a", "b"], position=[k, -k], velocity=[])
            message.header.stamp.secs, message.header.stamp.nsecs = 7, k * 20_000_000
            writer.write_message("/arm", message, BEGIN + k)
            writer.write_message("/grip", command(data=k, word="wörd", force=[1, k, 3]), BEGIN + k)
            if k % 5 == 0:
                message = picture(format="png", data=png(FRAMES[k // 5]))
                message.header.stamp.secs, message.header.stamp.nsecs = 7, k * 20_000_000
                writer.write_message("/cam", message, BEGIN + k)
        writer.finish()
    found = only(McapSource(tmp_path / "a.mcap", action="/arm.position"))
    assert np.array_equal(np.stack(list(found.frames)), FRAMES[:9])
    assert found.row_of.tolist() == list(range(0, 45, 5))
    assert np.allclose(found.actions, np.arange(45)[:, None] * [1, -1])
    grips = only(McapSource(tmp_path / "a.mcap", action="/grip.force[1:],/grip.data", clock="log"))
    assert np.allclose(grips.actions[:, 0], np.arange(45))
    listed = "\n".join(tree(McapSource(tmp_path / "a.mcap").listing()))
    assert "/grip.force  [3]" in listed


def test_a_definition_of_ros1_is_no_program(tmp_path):
    trap = f'float64 x\n"""\nopen({str(tmp_path / "opened")!r}, "w")\n"""\n'
    schema = ("example/Trap", "ros1msg", trap.encode())
    messages = [("/arm", BEGIN, bytes(8))]
    write_plain(tmp_path / "a.mcap", messages, encoding="ros1", schema=schema)
    source = McapSource(tmp_path / "a.mcap", image="/arm", action="/arm.x")
    assert "its definition has the line" in refusal(source)
    assert not (tmp_path / "opened").exists()


def test_protobuf(tmp_path):
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    files = descriptor_pb2.FileDescriptorSet()
    (kinds, time) = files.file.add(name="b.proto"), files.file.add(name="a.proto")
    kinds.dependency.append("a.proto")
    kinds.syntax = time.syntax = "proto3"
    stamp = time.message_type.add(name="Time")
    for number, name in enumerate(("seconds", "nanos"), 1):
        stamp.field.add(name=name, number=number, type=3, label=1)
    picture = kinds.message_type.add(name="CompressedImage")
    picture.field.add(name="timestamp", number=1, type=11, label=1, type_name=".Time")
    picture.field.add(name="data", number=2, type=12, label=1)
    picture.field.add(name="format", number=3, type=9, label=1)
    picture.field.add(name="zoom", number=4, type=1, label=3)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(time.SerializeToString())
    pool.AddSerializedFile(kinds.SerializeToString())
    make = message_factory.GetMessageClass(pool.FindMessageTypeByName("CompressedImage"))
    messages = [
        (
            "/cam",
            BEGIN,
            make(
                timestamp={"seconds": 5, "nanos": k * 100_000_000},
                data=png(FRAMES[k]),
                format="png",
                zoom=[k, 1],
            ).SerializeToString(),
        )
        for k in range(5)
    ]
    schema = ("CompressedImage", "protobuf", files.SerializeToString())
    write_plain(tmp_path / "a.mcap", messages, encoding="protobuf", schema=schema)
    found = only(McapSource(tmp_path / "a.mcap", action="/cam.zoom"))
    assert np.array_equal(np.stack(list(found.frames)), FRAMES[:5])
    assert np.allclose(found.times, np.arange(5) / 10)
    assert found.actions[:, 0].tolist() == list(range(5))


@pytest.mark.parametrize(
    ("encoding", "schema", "said"),
    [
        ("cdr", ("a/msg/B", "ros2idl", b"module a {};"), "encoded as cdr by ros2idl"),
        ("morse", None, "encoded as morse; cdr by ros2msg, ros1, json and protobuf are read"),
        ("json", None, "a message cannot be decoded"),
        ("cdr", ("a/msg/B", "ros2msg", b"B b"), "a message cannot be decoded"),
        ("cdr", ("a/msg/B", "ros2msg", b"?? !"), "a message cannot be decoded"),
        ("cdr", ("a/msg/B", "ros2msg", b"uint8[0] b"), "an array of nothing"),
        ("ros1", ("a/B", "ros1msg", b"C[] b\n====\nMSG: a/C\n"), "b is an array of nothing"),
        ("ros1", ("a/B", "ros1msg", b"B[2] b"), "a message cannot be decoded"),
        ("protobuf", ("B", "protobuf", b"\xff"), "a message cannot be decoded"),
    ],
)
def test_encodings_that_are_not_read(tmp_path, capfd, encoding, schema, said):
    data = b"\x03\0\0\0" if said.startswith("b is") else b"\0\1\0\0" + bytes(20)
    messages = [("/cam", BEGIN, data)]
    write_plain(tmp_path / "a.mcap", messages, encoding=encoding, schema=schema)
    assert said in refusal(McapSource(tmp_path / "a.mcap", image="/cam"))
    assert capfd.readouterr() == ("", "")


# -- numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("/leg.position", "--action /leg.position: there is no such topic; there are: /arm, /cam"),
        ("/arm.torque", "there is no field torque; there are: header, name, position, velocity"),
        ("/arm.name", "it holds something else than numbers"),
        ("/arm", "it holds something else than numbers"),
        ("/arm.position.7", "there is no field 7"),
        ("/arm.position[2:9]", "has 3 columns, and columns 2 to 8 of it are asked for"),
        ("/arm.position[", "give the name of a feature"),
    ],
)
def test_what_is_not_there_is_named(bag, action, said):
    assert said in refusal(McapSource(bag, action=action))


def test_fields_below_a_field_are_taken_in_their_order(bag):
    found = only(McapSource(bag, action="/arm.header.stamp,/arm.position.1"))
    assert np.allclose(found.actions[3], [BEGIN // SECOND, 3 * SECOND // 50, 3.1])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (joints(BEGIN, [1, 2]), "/arm: message 60 has 2 numbers, and the first 3"),
        (joints(BEGIN, [1, 2, 3], ("c", "b", "a")), "message 60 has other joints than the first"),
        (joints(BEGIN + 2 * SECOND, [1, 2, np.nan]), "row 60: a value is not a finite number"),
        (joints(BEGIN + 2 * SECOND, [1, 2, 1e300]), "row 60: a value is not a finite number"),
    ],
)
def test_rows_that_are_unlike_the_others_are_refused(tmp_path, row, said):
    last = ("/arm", "sensor_msgs/JointState", BEGIN + 5 * SECOND, row)
    write_ros2(tmp_path / "a.mcap", in_time(film(FRAMES), arm(ROWS), [last]))
    assert said in refusal(McapSource(tmp_path / "a.mcap", **ACTION))


def test_cameras_that_are_not_named_or_not_there(tmp_path, bag):
    write_ros2(tmp_path / "b.mcap", in_time(film(FRAMES), film(FRAMES, "/side"), arm(ROWS)))
    for source, said in (
        (McapSource(tmp_path / "b.mcap"), "name the camera with --image; topics of pictures: /cam"),
        (McapSource(bag, image="/top"), "there is no such topic; topics of pictures: /cam; others"),
        (McapSource(bag, image="/cam,/cam"), "give each camera once"),
        (McapSource(bag, image="/arm"), "it is no picture, but has header, name, position"),
    ):
        assert said in refusal(source)


# -- files --------------------------------------------------------------------------------------


def test_a_bag_of_several_files_is_one_recording(tmp_path):
    bag = tmp_path / "bags" / "run"
    bag.mkdir(parents=True)
    messages = in_time(film(FRAMES), arm(ROWS))
    for k in range(12):
        write_ros2(bag / f"run_{k}.mcap", messages[6 * k : 6 * k + 6])
    names = "".join(f"    - run_{k}.mcap\n" for k in range(12))
    text = f"rosbag2_bagfile_information:\n  relative_file_paths:\n{names}  duration: 1\n"
    (bag / "metadata.yaml").write_text(text)
    write_ros2(tmp_path / "bags" / "other.mcap", messages)
    for place, expected in ((bag, ["run"]), (tmp_path / "bags", ["other.mcap", "run"])):
        found, skips = everything(McapSource(place, **ACTION))
        assert list(found) == expected
        assert not skips
        assert np.array_equal(found["run"][0], FRAMES)
        assert np.allclose(found["run"][1], ROWS)
    listed = "\n".join(tree(McapSource(bag).listing()))
    assert "12 files" in listed
    assert "60 messages" in listed
    assert [(one.source, one.place) for one in recognise(tmp_path / "bags")] == [
        ("mcap", tmp_path / "bags")
    ]

    (bag / "run_7.mcap").unlink()
    said = refusal(McapSource(bag, **ACTION))
    assert "metadata.yaml names run_7.mcap, which is not there" in said
    found, skips = everything(McapSource(tmp_path / "bags", **ACTION))
    assert (list(found), [one.name for one in skips]) == (["other.mcap"], ["run"])
    write_ros2(bag / "run_7.mcap", messages[42:48])
    write_ros2(bag / "run_12.mcap", messages)
    assert "run_12.mcap, which metadata.yaml does not name" in refusal(McapSource(bag, **ACTION))


@pytest.mark.parametrize("compression", ["NONE", "LZ4", "ZSTD"])
def test_compressions(tmp_path, compression):
    from mcap.writer import CompressionType

    kind = getattr(CompressionType, compression)
    write_ros2(tmp_path / "a.mcap", in_time(film(FRAMES), arm(ROWS)), compression=kind)
    found = only(McapSource(tmp_path / "a.mcap", **ACTION))
    assert np.array_equal(np.stack(list(found.frames)), FRAMES)


def test_a_compression_that_is_not_known(tmp_path):
    from mcap.writer import CompressionType

    write_ros2(tmp_path / "a.mcap", film(FRAMES), compression=CompressionType.LZ4)
    content = (tmp_path / "a.mcap").read_bytes().replace(b"lz4", b"xyz")
    (tmp_path / "a.mcap").write_bytes(content)
    assert "its chunks are compressed as xyz" in refusal(McapSource(tmp_path / "a.mcap"))


def test_a_chunk_is_not_unpacked_beyond_its_size(tmp_path):
    import zstandard

    write_plain(tmp_path / "a.mcap", [("/cam", BEGIN, bytes(4000))])
    content = (tmp_path / "a.mcap").read_bytes()
    at = content.index(b"\x28\xb5\x2f\xfd")
    length = int.from_bytes(content[at - 8 : at], "little")
    bomb = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    packed = b"".join(bomb.compress(bytes(1 << 24)) for _ in range(64)) + bomb.flush()
    record = content.rindex(b"\x06", 0, at - 40)
    grown = int.from_bytes(content[record + 1 : record + 9], "little") - length + len(packed)
    (tmp_path / "a.mcap").write_bytes(
        content[: record + 1]
        + grown.to_bytes(8, "little")
        + content[record + 9 : at - 8]
        + len(packed).to_bytes(8, "little")
        + packed
        + content[at + length :]
    )
    said = refusal(McapSource(tmp_path / "a.mcap", image="/cam"))
    assert "a chunk has another size than it says" in said


@pytest.mark.parametrize("enable_data_crcs", [False, True])
def test_messages_that_are_in_no_chunk(tmp_path, enable_data_crcs):
    messages = [
        ("/cam", BEGIN + k, foxglove(BEGIN + k * SECOND // 10, FRAMES[k])) for k in range(9)
    ]
    place = tmp_path / "a.mcap"
    write_plain(place, messages, use_chunking=False, enable_data_crcs=enable_data_crcs)
    source = McapSource(place, image="/cam")
    assert np.array_equal(np.stack(list(only(source).frames)), FRAMES[:9])
    assert any("without checksums" in note for note in source.describe()["notes"]) != (
        enable_data_crcs
    )
    place.write_bytes(place.read_bytes().replace(b"png", b"PNG"))
    assert ("crc validation failed" in str(everything(source))) == enable_data_crcs


def test_without_checksums_it_is_said(tmp_path):
    write_ros2(tmp_path / "a.mcap", film(FRAMES), enable_crcs=False)
    assert "without checksums" in McapSource(tmp_path / "a.mcap").describe()["notes"][0]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.mcap", b"", "is empty"),
        ("a.mcap", b"hello", "is no MCAP file"),
        ("a.bag", b"#ROSBAG V2.0", "mcap convert IN.bag OUT.mcap"),
        ("a.db3", b"SQLite format 3", "mcap convert IN.bag OUT.mcap (also IN.db3"),
        ("a.mcap.zstd", b"", "unzstd a.mcap.zstd"),
        ("a.txt", b"", "holds no .mcap files"),
    ],
)
def test_other_files(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    assert said in refusal(McapSource(tmp_path))
    if not name.endswith("txt"):
        assert said in refusal(McapSource(tmp_path / name))


def test_a_damaged_file_among_others_is_skipped_and_named(tmp_path):
    for name in ("0", "1", "2"):
        write_ros2(tmp_path / f"{name}.mcap", in_time(film(FRAMES), arm(ROWS)))
    content = (tmp_path / "1.mcap").read_bytes()
    (tmp_path / "1.mcap").write_bytes(content[: len(content) // 2])
    found, (skip,) = everything(McapSource(tmp_path, **ACTION))
    assert list(found) == ["0.mcap", "2.mcap"]
    assert skip.name == "1.mcap"
    assert "1.mcap is cut off or damaged" in skip.reason
    assert "mcap recover" in skip.reason
    lengths = [
        one for part in McapSource(tmp_path).parts() for one in McapSource(tmp_path).lengths(part)
    ]
    assert lengths == [("0.mcap", 12), ("2.mcap", 12)]


def test_remote_files_are_not_read():
    from upath import UPath

    with pytest.raises(ForeframeError, match="on this machine alone"):
        McapSource(UPath("memory://bags")).parts()


def test_without_the_package_it_says_what_to_install(bag, monkeypatch):
    monkeypatch.setitem(sys.modules, "mcap", None)
    with pytest.raises(ForeframeError, match=r"pip install 'foreframe\[mcap\]'"):
        McapSource(bag).parts()


# -- damage -------------------------------------------------------------------------------------


def outcome(path, content):
    """What is read of a file of this content, as bytes; None if it is refused."""
    path.write_bytes(content)
    source = McapSource(path, **ACTION)
    try:
        source.listing()
        found, _ = everything(source)
    except ForeframeError:
        return None
    for frames, actions, _ in found.values():
        return frames.tobytes() + actions.tobytes()
    return None


@pytest.mark.parametrize("chunk_size", [2000, 1 << 20])
def test_a_file_that_is_cut_anywhere_is_refused(tmp_path, chunk_size):
    small = FRAMES[:4, :4, :4]
    write_ros2(tmp_path / "a.mcap", in_time(film(small), arm(ROWS[:20])), chunk_size=chunk_size)
    content = (tmp_path / "a.mcap").read_bytes()
    assert outcome(tmp_path / "a.mcap", content) is not None
    for at in np.linspace(0, len(content) - 1, 120).astype(int):
        assert outcome(tmp_path / "a.mcap", content[:at]) is None


@pytest.mark.parametrize("compression", ["NONE", "LZ4", "ZSTD"])
def test_changed_bytes_never_change_what_is_read(tmp_path, compression):
    """The checksums of chunks, and the counts in the summary, notice what matters."""
    from mcap.writer import CompressionType

    small = FRAMES[:4, :4, :4]
    messages = in_time(film(small), arm(ROWS[:20]))
    kind = getattr(CompressionType, compression)
    write_ros2(tmp_path / "a.mcap", messages, chunk_size=2000, compression=kind)
    content = (tmp_path / "a.mcap").read_bytes()
    sound = outcome(tmp_path / "a.mcap", content)
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        changed = bytearray(content)
        for at in random.integers(0, len(content), random.integers(1, 4)):
            changed[at] = random.integers(0, 256)
        taken = outcome(tmp_path / "a.mcap", bytes(changed))
        assert taken in (None, sound)
        refused += taken is None
    assert refused > 75


def test_a_chunk_that_is_taken_for_something_else_is_missed(tmp_path):
    """Records of unknown kinds are passed over, and no checksum is over the kind of a chunk."""
    from mcap.reader import make_reader

    path = tmp_path / "a.mcap"
    write_ros2(path, in_time(film(FRAMES), arm(ROWS)), chunk_size=4000)
    content = bytearray(path.read_bytes())
    with path.open("rb") as file:
        chunks = make_reader(file).get_summary().chunk_indexes
    assert len(chunks) > 2
    content[chunks[1].chunk_start_offset] = 0x7F
    path.write_bytes(content)
    _, (skip,) = everything(McapSource(path, **ACTION))
    assert "messages, and its summary counts 72" in skip.reason


def test_changed_bytes_without_checksums_are_words_or_numbers(tmp_path):
    from mcap.writer import CompressionType

    for k, crcs in enumerate((False, True)):
        write_ros2(
            tmp_path / f"{k}.mcap",
            in_time(film(FRAMES[:3, :4, :4], kind="sensor_msgs/Image"), arm(ROWS[:15])),
            enable_crcs=crcs,
            compression=CompressionType.NONE,
        )
    content = (tmp_path / "0.mcap").read_bytes()
    random = np.random.default_rng(1)
    for _ in range(150):
        changed = bytearray(content)
        for at in random.integers(0, len(content), 3):
            changed[at] = random.integers(0, 256)
        outcome(tmp_path / "0.mcap", bytes(changed))


# -- the command line ---------------------------------------------------------------------------


def test_list_shows_topics_types_counts_rates_and_fields(bag, capsys):
    main(["import", "mcap", str(bag), "--list"])
    out = capsys.readouterr().out
    for text in (
        "MCAP, 1 recording",
        "a.mcap: 1.18 s",
        "/arm  sensor_msgs/msg/JointState  60 messages, about 50 a second",
        "/arm.position  [3]",
        "/cam  sensor_msgs/msg/CompressedImage  12 messages, about 9.32 a second",
    ):
        assert text in out


def test_a_file_without_a_summary_is_listed_by_its_messages(bag):
    content = bag.read_bytes()
    from mcap.writer import Writer

    with bag.open("wb") as file:
        writer = Writer(file, use_statistics=False, use_summary_offsets=False,
                        repeat_channels=False, repeat_schemas=False)  # fmt: skip
        writer.start()
        channel = writer.register_channel("/arm", "json", 0)
        for k in range(5):
            writer.add_message(channel, BEGIN + k * SECOND, b'{"x": 1}', 0)
        writer.finish()
    listed = "\n".join(tree(McapSource(bag).listing()))
    assert "/arm  json  5 messages, about 1 a second" in listed
    assert "/arm.x  [1]" in listed
    bag.write_bytes(content[: len(content) // 2])
    assert "is cut off or damaged" in "\n".join(tree(McapSource(bag).listing()))


def test_the_command_line_imports(bag, tmp_path, capsys):
    words = "--action /arm.position[:2] --position /arm.position[:1] --resample-actions last"
    main(["import", "mcap", str(bag), str(tmp_path / "out"), *words.split(), "--split", "train"])
    out = capsys.readouterr().out
    assert "times are those in the headers" in out
    assert Store(tmp_path / "out" / "train")[0].actions.shape == (12, 2)


def test_recordings_that_have_come_are_appended(tmp_path):
    bags = tmp_path / "bags"
    bags.mkdir()
    names = []
    for k in range(3):
        write_ros2(bags / f"{k}.mcap", in_time(film(FRAMES), arm(ROWS)))
        import_dataset(
            McapSource(bags, **ACTION),
            tmp_path / "out",
            ImportOptions(split="train", size=16, resample_actions="last"),
            execution=Execution(1),
            log=len,
            append=k > 0,
        )
        names.append(f"{k}.mcap")
        assert sorted(Store(tmp_path / "out" / "train").names) == names
