"""Videos with their CSVs: frames and rows stay together, also at another frame rate."""

import pickle
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image
from upath import UPath

from foreframe.data.imports.importing import ImportOptions, import_dataset
from foreframe.data.sources.source import Skip
from foreframe.data.sources.video import VideoSource
from foreframe.data.sources.video_table import choose
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.system.workers import Execution

av = pytest.importorskip("av")

CODECS = {
    "mp4": "libx264",
    "mov": "libx264",
    "mkv": "libx264",
    "avi": "mpeg4",
    "webm": "libvpx-vp9",
}
KINDS = (*CODECS, "gif")


def write_video(path, count=12, rate=10, times=None):
    """Frame n is of the grey 10 n, so that it can be told; ``times`` in milliseconds."""
    path.parent.mkdir(exist_ok=True)
    images = [np.full((32, 48, 3), 10 * n, np.uint8) for n in range(count)]
    if path.suffix.lower() == ".gif":
        # Pillow keeps the colours as they are.
        first, *others = (Image.fromarray(image[..., 0]) for image in images)
        first.save(path, save_all=True, append_images=others, duration=1000 // rate)
        return
    with av.open(str(path), "w") as container:
        stream = container.add_stream(CODECS[path.suffix[1:]], rate=rate)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        for n, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if times:
                frame.pts, frame.time_base = times[n], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_table(path, rows, header=None):
    lines = [",".join(map(str, row)) for row in rows]
    path.write_text("\n".join([*([header] if header else []), *lines]) + "\n")


def table(count=12, columns=3):
    return np.round(np.random.default_rng(0).normal(size=(count, columns)), 3)


def everything(source):
    """Numbers of the frames, actions and positions by recording; and the skips."""
    recordings, skips = {}, []
    for part in pickle.loads(pickle.dumps(source)).parts():
        for found in source.read(part):
            if isinstance(found, Skip):
                skips.append(found)
                continue
            try:
                numbers = [round(float(np.median(frame)) / 10) for frame in found.frames]
            except ForeframeError as error:
                skips.append(Skip(found.name, str(error)))
                continue
            recordings[found.name] = (numbers, found.actions, found.positions)
    return recordings, skips


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_of_every_kind_comes_with_its_row(tmp_path, kind):
    rows = table()
    write_video(tmp_path / f"clip.{kind}")
    write_table(tmp_path / "clip.csv", rows)
    source = VideoSource(tmp_path)
    recordings, skips = everything(source)
    assert not skips
    numbers, actions, positions = recordings[f"clip.{kind}"]
    assert numbers == list(range(12))
    assert actions.dtype == np.float32
    assert np.array_equal(actions, rows.astype(np.float32))
    assert positions is None
    (part,) = source.parts()
    assert source.lengths(part) == [(f"clip.{kind}", 12)]
    assert source.describe()["frame_rate"] == pytest.approx(10)


def test_a_single_file_finds_its_csv(tmp_path):
    write_video(tmp_path / "clip.mp4")
    write_table(tmp_path / "clip.csv", table())
    write_video(tmp_path / "other.mp4")
    recordings, skips = everything(VideoSource(tmp_path / "clip.mp4"))
    assert list(recordings) == ["clip.mp4"]
    assert recordings["clip.mp4"][1].shape == (12, 3)
    assert not skips


def test_folders_are_searched_in_natural_order(tmp_path):
    for name in ("run10/a.gif", "run9/b.gif", "run9/.hidden.gif", "a10.GIF", "a9.gif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_video(tmp_path / name, 3)
    (tmp_path / "notes.txt").write_text("nothing")
    recordings, skips = everything(VideoSource(tmp_path))
    assert list(recordings) == ["a9.gif", "a10.GIF", "run9/b.gif", "run10/a.gif"]
    assert not skips


def test_a_part_holds_32_videos(tmp_path):
    write_video(tmp_path / "0.gif", 3)
    data = (tmp_path / "0.gif").read_bytes()
    for n in range(1, 40):
        (tmp_path / f"{n}.gif").write_bytes(data)
    source = VideoSource(tmp_path)
    lengths = [source.lengths(part) for part in source.parts()]
    assert [len(part) for part in lengths] == [32, 8]
    assert lengths[1][0] == ("32.gif", 3)


def test_a_remote_folder_is_read(tmp_path):
    rows = table()
    write_video(tmp_path / "clip.mp4")
    place = UPath("memory://video-source")
    (place / "sub").mkdir(parents=True, exist_ok=True)
    (place / "sub" / "clip.mp4").write_bytes((tmp_path / "clip.mp4").read_bytes())
    (place / "sub" / "clip.csv").write_text("\n".join(",".join(map(str, row)) for row in rows))
    recordings, skips = everything(VideoSource(place))
    assert not skips
    numbers, actions, _ = recordings["sub/clip.mp4"]
    assert numbers == list(range(12))
    assert np.array_equal(actions, rows.astype(np.float32))


# -- the table --------------------------------------------------------------------------------


def test_columns_by_number_range_and_name(tmp_path):
    rows = table(columns=7)
    write_video(tmp_path / "clip.mp4")
    write_table(tmp_path / "clip.csv", rows, "dx, dy, dz, grip, x, y, z")
    for actions, positions, first, second in (
        ("0:4", "4:7", [0, 1, 2, 3], [4, 5, 6]),
        ("dx,grip", "x", [0, 3], [4]),
        ("", "4:", [0, 1, 2, 3], [4, 5, 6]),
        ("3,:2", "", [3, 0, 1], None),
        ("none", "z", None, [6]),
        ("none", "", None, None),
    ):
        source = VideoSource(tmp_path, actions=actions, positions=positions)
        recordings, skips = everything(source)
        assert not skips
        for found, columns in zip(recordings["clip.mp4"][1:], (first, second), strict=True):
            if columns is None:
                assert found is None
            else:
                assert np.array_equal(found, rows[:, columns].astype(np.float32))
    columns = VideoSource(tmp_path, actions="0:4", positions="x,y").describe()["columns"]
    assert columns == {"actions": ["dx", "dy", "dz", "grip"], "positions": ["x", "y"]}


@pytest.mark.parametrize("text", ["x", "7", "2:9", "9:", ":0", "3:2", "-1", "0,,1"])
def test_a_column_that_is_not_there_is_refused(tmp_path, text):
    write_video(tmp_path / "clip.gif", 3)
    write_table(tmp_path / "clip.csv", table(3), "dx,dy,grip")
    with pytest.raises(ForeframeError, match="dx, dy, grip"):
        VideoSource(tmp_path, actions=text).parts()
    with pytest.raises(ForeframeError, match="dx, dy, grip"):
        VideoSource(tmp_path, positions=text).parts()


def test_a_name_that_is_a_number_is_a_name():
    assert choose(["1", "0"], "0", "")["actions"] == [1]


def test_columns_without_any_csv_are_refused(tmp_path):
    write_video(tmp_path / "clip.gif", 3)
    with pytest.raises(ForeframeError, match=r"clip\.csv"):
        VideoSource(tmp_path, actions="0:4").parts()
    recordings, _ = everything(VideoSource(tmp_path))
    assert recordings["clip.gif"][1:] == (None, None)


def test_a_video_without_the_csv_that_others_have_is_skipped(tmp_path):
    for name in "abc":
        write_video(tmp_path / f"{name}.gif", 3)
    for name in "ac":
        write_table(tmp_path / f"{name}.csv", table(3))
    recordings, (skip,) = everything(VideoSource(tmp_path))
    assert list(recordings) == ["a.gif", "c.gif"]
    assert skip.name == "b.gif"
    assert "b.csv" in skip.reason
    recordings, skips = everything(VideoSource(tmp_path, actions="none"))
    assert len(recordings) == 3
    assert not skips


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,2,3\n4,5\n6,7,8\n", "line 2: 2 columns"),
        ("1,2,3\n4,x,6\n7,8,9\n", "line 2"),
        ("1,2,3\n4,nan,6\n7,8,9\n", "line 2: holds a value that is not a finite number"),
        ("1,2,3\n4,1e99,6\n7,8,9\n", "line 2"),
        ("", "no rows"),
        ("dx,dy,grip\n", "no rows"),
        ("1,2\n" * 3, "those of the first CSV are"),
        ("dy,dx,grip\n" + "1,2,3\n" * 3, "those of the first CSV are dx, dy, grip"),
        ('"1,2,3\n4,5,6\n7,8,9\n', "line"),
    ],
)
def test_a_table_that_does_not_fit_skips_its_video(tmp_path, text, said):
    for name in "ab":
        write_video(tmp_path / f"{name}.gif", 3)
    write_table(tmp_path / "a.csv", table(3), "dx,dy,grip")
    (tmp_path / "b.csv").write_text(text)
    recordings, (skip,) = everything(VideoSource(tmp_path))
    assert list(recordings) == ["a.gif"]
    assert skip.name == "b.gif"
    assert said in skip.reason


@pytest.mark.parametrize(
    ("rows", "lengths", "frames"),
    [(3, "equal", 3), (2, "equal", 3), (1, "equal", 0), (4, "equal", 0), (5, "shortest", 3)],
)
def test_rows_that_are_not_as_many_as_the_frames(tmp_path, rows, lengths, frames):
    """One action less is complete; all else is skipped, or cut where that is asked for."""
    (tmp_path / "in").mkdir()
    for name in "ab":
        write_video(tmp_path / "in" / f"{name}.gif", 3)
    write_table(tmp_path / "in" / "a.csv", table(3), "dx,dy,grip")
    write_table(tmp_path / "in" / "b.csv", table(rows), "dx,dy,grip")
    options = ImportOptions(split="train", lengths=lengths)
    done = import_dataset(
        VideoSource(tmp_path / "in"),
        tmp_path / "out",
        options,
        execution=Execution(workers=1),
        log=lambda text: None,
    )
    assert done.frames == {"train": 3 + frames}
    if not frames:
        (skip,) = done.skipped
        assert skip.name == "b.gif"
        assert f"3 frames, but {rows} rows of numbers; --lengths shortest" in skip.reason


def test_a_table_that_is_no_text_skips_its_video(tmp_path):
    for name in "ab":
        write_video(tmp_path / f"{name}.gif", 3)
    write_table(tmp_path / "a.csv", table(3))
    for data in (b"\xff\xfe\x00", b"1,2,\x003\n" * 3):
        (tmp_path / "b.csv").write_bytes(data)
        recordings, (skip,) = everything(VideoSource(tmp_path))
        assert list(recordings) == ["a.gif"]
        assert "b.csv" in skip.reason


def test_other_writers_tables_are_read(tmp_path):
    write_video(tmp_path / "a.gif", 2)
    expected = np.float32([[1, -0.2], [3, 4]])
    for data in (
        b"\xef\xbb\xbf1, -2e-1\r\n3, 4\r\n\r\n",
        b'"dx";"dy"\n1;-0.2\n3;4',
        b"dx\tdy\n1\t-0.2\n3\t4\n",
    ):
        (tmp_path / "a.csv").write_bytes(data)
        recordings, skips = everything(VideoSource(tmp_path))
        assert not skips
        assert np.array_equal(recordings["a.gif"][1], expected)


# -- another rate -----------------------------------------------------------------------------


def imported(folder, out, options=None, **fields):
    """Numbers of the frames, actions and positions by recording as they are stored; and all."""
    options = replace(options or ImportOptions(), split="train", size=16)
    one = Execution(workers=1)
    done = import_dataset(VideoSource(folder, **fields), out, options, execution=one, log=len)
    store = Store(out / "train")
    frames = [[round(float(np.median(frame)) / 10) for frame in found.frames] for found in store]
    return {
        name: (numbers, found.actions, found.positions)
        for name, numbers, found in zip(store.names, frames, store, strict=True)
    }, done


def test_a_lower_rate_takes_the_nearest_frames_and_sums_the_actions(tmp_path):
    rows = table(12)
    write_video(tmp_path / "in/clip.mp4", 12, rate=30)
    write_table(tmp_path / "in/clip.csv", rows)
    options = ImportOptions(frame_rate=10, resample_actions="sum")
    recordings, done = imported(
        tmp_path / "in", tmp_path / "out", options, actions=":2", positions="2"
    )
    assert not done.skipped
    numbers, actions, positions = recordings["clip.mp4"]
    assert numbers == [0, 3, 6, 9]
    assert np.allclose(actions, rows[:, :2].reshape(4, 3, 2).sum(1), atol=1e-6)
    assert np.array_equal(positions, rows[::3, 2:].astype(np.float32))
    assert Store(tmp_path / "out" / "train").frame_rate == 10


def test_irregular_frames_are_taken_by_their_times(tmp_path):
    times = [0, 10, 90, 110, 190, 260, 300, 420, 500]
    write_video(tmp_path / "in/clip.mkv", len(times), times=times)
    recordings, done = imported(tmp_path / "in", tmp_path / "out", ImportOptions(frame_rate=10))
    assert not done.skipped
    # 0, 100 (90 and 110 are as near), 200, 300, 400 and 500 ms.
    assert recordings["clip.mkv"][0] == [0, 2, 4, 6, 7, 8]


def test_a_rate_that_is_nearly_the_cameras_takes_every_frame(tmp_path):
    times = [round(n * 1000 / 29) for n in range(12)]
    write_video(tmp_path / "in/clip.mkv", 12, times=times)
    recordings, done = imported(tmp_path / "in", tmp_path / "out", ImportOptions(frame_rate=30))
    assert not done.skipped
    assert recordings["clip.mkv"][0] == list(range(12))


def test_a_hole_in_time_is_no_standstill(tmp_path):
    times = [*range(0, 400, 33), *range(1000, 1400, 33)]
    write_video(tmp_path / "in/holed.mkv", len(times), times=times)
    write_video(tmp_path / "in/whole.mkv", 12, rate=30)
    recordings, done = imported(tmp_path / "in", tmp_path / "out", ImportOptions(frame_rate=10))
    assert list(recordings) == ["whole.mkv"]
    assert "has no new frames for a while" in done.skipped[0].reason


def test_frames_after_a_missing_one_never_get_its_row(tmp_path):
    """Cut out of the middle of a film: its first frames need others that are not there."""
    film = tmp_path / "film.mkv"
    with av.open(str(film), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"bf": "0"})
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
        stream.gop_size = 12
        for n in range(60):
            image = np.full((64, 64, 3), 4 * n, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    (tmp_path / "in").mkdir()
    with av.open(str(film)) as whole, av.open(str(tmp_path / "in" / "a.mkv"), "w") as cut:
        source = whole.streams.video[0]
        copy = cut.add_stream_from_template(source)
        packets = [packet for packet in whole.demux(source) if packet.dts is not None][7:]
        begin = packets[0].dts
        for packet in packets:
            packet.pts, packet.dts = packet.pts - begin, packet.dts - begin
            packet.stream = copy
            cut.mux(packet)
    write_table(tmp_path / "in" / "a.csv", [[n] for n in range(7, 60)])
    source = VideoSource(tmp_path / "in")
    for part in source.parts():
        for found in source.read(part):
            assert not isinstance(found, Skip)
            for frame, row in zip_until_damaged(found):
                assert abs(float(np.median(frame)) / 4 - row) < 1


def zip_until_damaged(recording):
    with suppress(ForeframeError):
        yield from zip(recording.frames, recording.actions[:, 0], strict=False)


def test_what_becomes_of_the_actions_has_to_be_said(tmp_path):
    write_video(tmp_path / "in/clip.gif", 6)
    write_table(tmp_path / "in/clip.csv", table(6))
    options = ImportOptions(frame_rate=5)
    with pytest.raises(ForeframeError, match="--resample-actions"):
        imported(tmp_path / "in", tmp_path / "out", options)
    for n, columns in enumerate(({"actions": "none"}, {"actions": "none", "positions": ":3"})):
        recordings, _ = imported(tmp_path / "in", tmp_path / f"out{n}", options, **columns)
        assert recordings["clip.gif"][0] == [0, 2, 4]


def test_rates_are_not_mixed_unnoticed(tmp_path):
    write_video(tmp_path / "in/a.mp4", 6, rate=10)
    write_video(tmp_path / "in/b.mp4", 12, rate=20)
    recordings, done = imported(tmp_path / "in", tmp_path / "all")
    assert list(recordings) == ["a.mp4"]
    assert "20 frames a second" in done.skipped[0].reason
    recordings, done = imported(tmp_path / "in", tmp_path / "10", ImportOptions(frame_rate=10))
    assert not done.skipped
    assert [found[0] for found in recordings.values()] == [list(range(6)), list(range(0, 12, 2))]
    recordings, done = imported(tmp_path / "in", tmp_path / "20", ImportOptions(frame_rate=20))
    assert list(recordings) == ["b.mp4"]
    assert "twice" in done.skipped[0].reason


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(tmp_path, rate):
    write_video(tmp_path / "a.gif", 3)
    with pytest.raises(ForeframeError, match="--frame-rate"):
        imported(tmp_path, tmp_path / "out", ImportOptions(frame_rate=rate))


# -- damage -----------------------------------------------------------------------------------


def test_nothing_to_read_is_said(tmp_path):
    for place in (tmp_path / "none", tmp_path):
        with pytest.raises(ForeframeError, match="Give"):
            VideoSource(place).parts()
    (tmp_path / "a.mp4").write_bytes(b"no video at all")
    with pytest.raises(ForeframeError, match=r"a\.mp4"):
        VideoSource(tmp_path).parts()


@pytest.mark.parametrize("kind", ["mp4", "avi", "mkv", "gif"])
def test_a_video_cut_anywhere_is_never_a_short_recording(tmp_path, kind):
    """With its rows, that is; a stream without an index may end anywhere."""
    write_video(tmp_path / f"a.{kind}", 12)
    write_video(tmp_path / f"b.{kind}", 12)
    for name in "ab":
        write_table(tmp_path / f"{name}.csv", table(12))
    path = tmp_path / f"b.{kind}"
    good = path.read_bytes()
    for n in np.linspace(0, len(good) - 1, 40).astype(int):
        path.write_bytes(good[:n])
        recordings, skips = everything(VideoSource(tmp_path))
        assert recordings[f"a.{kind}"][0] == list(range(12))
        if f"b.{kind}" in recordings:
            # What was cut off was an index, or the end mark.
            assert recordings[f"b.{kind}"][0] == list(range(12))
        else:
            assert [skip.name for skip in skips] == [f"b.{kind}"]


# -- edit lists ---------------------------------------------------------------------------------

listed_frames = pytest.mark.skipif(
    not hasattr(av.stream.Stream, "index_entries"),
    reason="this PyAV does not say which frames an edit list hides",
)


def write_groups(path, count=30, group=5):
    """An mp4 with frames that depend on later ones, and a key frame for each group."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        stream.codec_context.gop_size = group
        stream.options = {"bf": "2"}
        for n in range(count):
            image = np.full((32, 48, 3), 8 * n, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def trim(path, out, seconds):
    """What ``ffmpeg -ss SECONDS -c copy`` makes: nothing is encoded again, an edit list hides."""
    with av.open(str(path)) as source, av.open(str(out), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        offset = int(seconds / stream.time_base)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.pts, packet.dts, packet.stream = (
                    packet.pts - offset,
                    packet.dts - offset,
                    copy,
                )
                target.mux(packet)


def shown(source):
    """The greys of the one recording, as the numbers of its frames."""
    (part,) = source.parts()
    (recording,) = source.read(part)
    assert len(recording.times) == source.lengths(part)[0][1]
    return [round(float(np.median(frame)) / 8) for frame in recording.frames]


@listed_frames
def test_frames_that_an_edit_list_hides_at_the_beginning_are_not_missed(tmp_path):
    write_groups(tmp_path / "whole.mp4", group=30)
    trim(tmp_path / "whole.mp4", tmp_path / "part.mp4", 1)
    assert len(shown(VideoSource(tmp_path / "part.mp4"))) == 20
    assert (
        shown(VideoSource(tmp_path / "part.mp4")) == shown(VideoSource(tmp_path / "whole.mp4"))[10:]
    )


@listed_frames
def test_frames_that_an_edit_list_hides_at_the_end_are_not_missed(tmp_path):
    write_groups(tmp_path / "whole.mp4")
    content = bytearray((tmp_path / "whole.mp4").read_bytes())
    at = content.find(b"elst") + 12  # the length of the only entry, in milliseconds
    assert int.from_bytes(content[at : at + 4], "big") == 3000
    content[at : at + 4] = (1200).to_bytes(4, "big")
    (tmp_path / "part.mp4").write_bytes(content)
    assert (
        shown(VideoSource(tmp_path / "part.mp4")) == shown(VideoSource(tmp_path / "whole.mp4"))[:12]
    )


@listed_frames
def test_a_trimmed_video_that_was_really_cut_stays_refused(tmp_path):
    write_groups(tmp_path / "whole.mp4", group=30)
    with av.open(str(tmp_path / "whole.mp4")) as container:
        sizes = [packet.size for packet in container.demux() if packet.size]
    trim(tmp_path / "whole.mp4", tmp_path / "back.mp4", 1)
    with av.open(str(tmp_path / "back.mp4")) as source:
        options = {"movflags": "faststart"}
        with av.open(str(tmp_path / "front.mp4"), "w", options=options) as target:
            stream = source.streams.video[0]
            copy = target.add_stream_from_template(stream)
            for packet in source.demux(stream):
                if packet.dts is not None:
                    packet.stream = copy
                    target.mux(packet)
    good = (tmp_path / "front.mp4").read_bytes()
    assert len(shown(VideoSource(tmp_path / "front.mp4"))) == 20
    (tmp_path / "front.mp4").write_bytes(good[: -sum(sizes[-4:])])
    with pytest.raises(ForeframeError, match=r"cut or damaged|could be decoded|cannot be read"):
        shown(VideoSource(tmp_path / "front.mp4"))
