"""Frames passed over, and what their actions become: for every source, in one place."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest

from foreframe.data.imports.importing import ImportOptions, import_dataset
from foreframe.data.imports.preview import preview
from foreframe.data.imports.thinning import ActionRules, Thinning
from foreframe.data.sources.source import Part, RawRecording, Source
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.system.workers import Execution


def numbered(count, repeats=()):
    """Frame n is of the grey n; those in ``repeats`` show the one before again."""
    shown = 0
    for n in range(count):
        shown = shown if n in repeats else n
        yield n, np.full((8, 8, 3), shown, np.uint8)


def taken(thinning, count, times=None, rate=None, repeats=()):
    return [n for n, _ in thinning(numbered(count, repeats), times, rate)]


def test_every_third_frame():
    assert taken(Thinning(every=3), 10) == [0, 3, 6, 9]
    assert Thinning(every=3).count(10, None) == 4


@pytest.mark.parametrize(("recorded", "rate"), [(30, 10), (30, 7), (15, 4), (50, 3.3), (29.97, 5)])
def test_a_rate_takes_the_frames_nearest_to_regular_times(recorded, rate):
    numbers = np.array(taken(Thinning(frame_rate=rate), 200, None, recorded))
    grid = np.arange(len(numbers)) / rate
    assert numbers[0] == 0
    assert grid[-1] <= 199 / recorded + 1e-5 < grid[-1] + 1 / rate + 1e-4
    assert np.abs(numbers / recorded - grid).max() <= 0.5 / recorded + 1e-5
    assert len(numbers) == Thinning(frame_rate=rate).count(200, recorded)


def test_irregular_times_are_met_as_nearly_as_frames_allow():
    random = np.random.default_rng(0)
    for _ in range(200):
        times = 5 + np.cumsum(random.uniform(0.01, 0.1, random.integers(5, 60)))
        rate = random.uniform(1, 9)
        recorded = (len(times) - 1) / (times[-1] - times[0])
        if rate > recorded / 1.06:
            continue
        numbers = np.array(taken(Thinning(frame_rate=rate), len(times), times, recorded))
        grid = times[0] + np.arange(len(numbers)) / rate
        distance = abs(times[numbers] - grid)
        assert np.allclose(distance, abs(times[:, None] - grid).min(0), atol=1e-5)
        assert (np.diff(numbers) > 0).all()


def test_frames_shown_twice_are_dropped_before_a_rate_is_met():
    repeats = {2, 5, 6, 9}
    assert taken(Thinning(drop_repeats=True), 10, repeats=repeats) == [0, 1, 3, 4, 7, 8]
    # At 5 of 10 Hz the times are those of frames 0, 2, 4, 6, 8; 2 is shown since 1, 6 since 4.
    both = Thinning(frame_rate=5, drop_repeats=True)
    assert taken(both, 10, None, 10.0, repeats={2, 9}) == [0, 1, 4, 6, 8]


ROWS = np.arange(1, 7, dtype=np.float32)[:, None]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("sum", [[1 + 2], [3], [4 + 5 + 6]]),
        ("mean", [[1.5], [3], [5]]),
        ("first", [[1], [3], [4]]),
        ("last", [[2], [3], [6]]),
    ],
)
def test_actions_between_two_frames(rule, expected):
    found = ActionRules.parse(rule)(ROWS, np.array([0, 2, 3]), np.array([2, 3, 6]))
    assert found.tolist() == expected
    assert found.dtype == np.float32


def test_a_gripper_is_not_added_up():
    rows = np.concatenate([ROWS, ROWS, ROWS, ROWS], 1)
    rules = ActionRules.parse("sum,1:last,2-3:mean")
    assert rules(rows, np.array([0, 3]), np.array([3, 6])).tolist() == [
        [6, 3, 2, 2],
        [15, 6, 5, 5],
    ]


def test_stacked_actions_keep_all_and_repeat_what_the_end_lacks():
    found = ActionRules.parse("stack")(ROWS[:5], np.array([0, 3]), np.array([3, 5]))
    assert found.tolist() == [[1, 2, 3], [4, 5, 5]]


def test_displacements_add_up_to_the_same_way():
    actions = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    starts = np.array(taken(Thinning(frame_rate=7), 50, None, 30.0))
    ends = np.append(starts[1:], 50)
    assert np.allclose(
        ActionRules.parse("sum")(actions, starts, ends).sum(0), actions.sum(0), atol=1e-5
    )


@pytest.mark.parametrize(
    "text", ["", "add", "sum,last", "sum,1:stack", "stack,1:last", "sum,1-:last", "sum,x:last"]
)
def test_rules_that_make_no_sense_are_refused(text):
    with pytest.raises(ForeframeError, match="--resample-actions"):
        ActionRules.parse(text)


# -- through an import --------------------------------------------------------------------------


@dataclass(frozen=True)
class Made(Source):
    """Recordings made up: frame n of the grey n, row n of the number n."""

    counts: tuple[int, ...] = (12, 12, 12)
    rows: int = 0
    per_frame: int = 1
    repeats: tuple[int, ...] = ()
    rate: float | None = None
    input: str = "made"

    def parts(self) -> list[Part]:
        from pathlib import Path

        return [Part("all", Path(__file__))]

    def lengths(self, part: Part) -> list[tuple[str, int]]:
        return [(str(k), count) for k, count in enumerate(self.counts)]

    def read(self, part: Part) -> Iterator[RawRecording]:
        for k, count in enumerate(self.counts):
            table = np.arange(count * self.per_frame + self.rows, dtype=np.float32)[:, None]
            yield RawRecording(
                str(k),
                (frame for _, frame in numbered(count, self.repeats)),
                table,
                np.arange(count * self.per_frame, dtype=np.float32)[:, None],
                times=None if self.rate is None else np.arange(count) / self.rate,
                row_of=None if self.per_frame == 1 else np.arange(count) * self.per_frame,
            )


def brought(source, out, options=None, **fields):
    options = replace(options or ImportOptions(size=8), size=8, **fields)
    return import_dataset(
        source, out, options, execution=Execution(workers=1), log=lambda text: None
    )


def first(out):
    found = Store(out / "train")[0]
    return (
        found.frames[:, 0, 0, 0].tolist(),
        found.actions[:, 0].tolist(),
        found.positions[:, 0].tolist(),
    )


def test_every_source_can_be_thinned(tmp_path):
    done = brought(Made(), tmp_path / "out", split="train", every=4, resample_actions="sum")
    assert not done.skipped
    frames, actions, positions = first(tmp_path / "out")
    assert frames == [0, 4, 8]
    assert actions == [0 + 1 + 2 + 3, 4 + 5 + 6 + 7, 8 + 9 + 10 + 11]
    assert positions == [0, 4, 8]


def test_a_shift_is_of_the_rows_as_they_were(tmp_path):
    brought(
        Made(), tmp_path / "out", split="train", every=4, resample_actions="first", shift_actions=1
    )
    assert first(tmp_path / "out") == ([0, 4, 8], [1, 5, 9], [0, 4, 8])


def test_clips_are_of_the_frames_that_are_taken(tmp_path):
    options = {"split": "train", "every": 2, "clip_frames": 3, "resample_actions": "sum"}
    brought(Made((13,)), tmp_path / "out", **options)
    store = Store(tmp_path / "out" / "train")
    assert store.names == ["0@0", "0@6"]
    assert store[0].actions[:, 0].tolist() == [0 + 1, 2 + 3, 4 + 5]
    assert store[1].actions[:, 0].tolist() == [6 + 7, 8 + 9, 10 + 11]


def test_a_robot_read_more_often_than_its_camera(tmp_path):
    source = Made((6, 6), per_frame=3)
    with pytest.raises(ForeframeError, match="--resample-actions"):
        brought(source, tmp_path / "no", split="train")
    brought(source, tmp_path / "out", split="train", resample_actions="last")
    frames, actions, positions = first(tmp_path / "out")
    assert frames == list(range(6))
    assert actions == [2, 5, 8, 11, 14, 17]
    assert positions == [0, 3, 6, 9, 12, 15]
    brought(source, tmp_path / "both", split="train", every=2, resample_actions="stack")
    assert Store(tmp_path / "both" / "train")[0].actions.tolist() == [
        list(range(6)),
        list(range(6, 12)),
        list(range(12, 18)),
    ]


def test_the_rate_is_asked_for_and_kept(tmp_path):
    options = {"split": "train", "frame_rate": 5.0, "resample_actions": "last"}
    with pytest.raises(ForeframeError, match="--recorded-rate"):
        brought(Made(), tmp_path / "no", **options)
    brought(Made(), tmp_path / "out", recorded_rate=20.0, **options)
    assert first(tmp_path / "out")[0] == [0, 4, 8]
    assert Store(tmp_path / "out" / "train").frame_rate == 5.0
    brought(Made(rate=20.0), tmp_path / "own", **options)
    assert first(tmp_path / "own")[0] == [0, 4, 8]
    brought(Made(), tmp_path / "told", split="train", recorded_rate=20.0)
    assert Store(tmp_path / "told" / "train").frame_rate == 20.0


def test_repeats_go_with_their_actions_added(tmp_path):
    source = Made((6, 6), repeats=(2, 3))
    brought(source, tmp_path / "out", split="train", drop_repeats=True, resample_actions="sum")
    assert first(tmp_path / "out") == ([0, 1, 4, 5], [0, 1 + 2 + 3, 4, 5], [0, 1, 4, 5])


@pytest.mark.parametrize("extra", [1, 3, -2])
def test_rows_that_are_not_as_many_as_the_frames(tmp_path, extra):
    source = Made(rows=extra)
    if extra < 0:
        source = Made(rows=extra, counts=(12, 12))
    with pytest.raises(ForeframeError, match=r"frames.*rows"):
        brought(source, tmp_path / "no", split="train")
    done = brought(source, tmp_path / "out", split="train", lengths="shortest")
    assert not done.skipped
    assert len(first(tmp_path / "out")[0]) == 12 + min(extra, 0)


def test_the_last_action_may_be_missing(tmp_path):
    brought(Made(rows=-1), tmp_path / "out", split="train")
    assert first(tmp_path / "out")[1] == [*map(float, range(11)), 10.0]


def test_short_recordings_are_named_and_not_counted_for_the_splits(tmp_path):
    counts = (20, 4, 20, 5, 20, 4, 20, 4, 20, 5)
    done = brought(Made(counts), tmp_path / "out", clip_frames=10, validate=0.2, test=0.2)
    assert done.sequences == {"train": 6, "validate": 2, "test": 2}
    assert [skip.name for skip in done.skipped] == ["1", "3", "5", "7", "9"]
    assert "it has 4 frames, and --clip-frames asks for 10" in done.skipped[0].reason


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"every": 0}, "--every 0"),
        ({"every": 2, "frame_rate": 5.0}, "one of them"),
        ({"recorded_rate": -1.0}, "--recorded-rate"),
        ({"frame_rate": 5.0, "resample_actions": "stack"}, "--every in place"),
        ({"every": 2, "resample_actions": "sum,4:last"}, "column 4, but the actions have 1"),
        ({"every": 2}, "--every passes over frames"),
        ({"drop_repeats": True}, "--drop-repeats passes over frames"),
        ({"min_frames": 0}, "min-frames"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path, options, words):
    with pytest.raises(ForeframeError, match=words):
        brought(Made(), tmp_path / "out", split="train", **options)
    assert not (tmp_path / "out" / "train").exists()


def test_a_preview_is_what_the_import_will_be(tmp_path):
    options = ImportOptions(size=8, every=4, resample_actions="sum", clip_frames=2)
    seen = preview(Made(), options, count=2)
    brought(Made(), tmp_path / "out", options, split="train")
    store = Store(tmp_path / "out" / "train")
    assert [name for name, _ in seen] == store.names[:2]
    for (_, recording), stored in zip(seen, store, strict=False):
        for part in ("frames", "actions", "positions"):
            assert np.array_equal(getattr(recording, part), getattr(stored, part))
    with pytest.raises(ForeframeError, match="--every passes over frames"):
        preview(Made(), ImportOptions(every=4))
    with pytest.raises(ForeframeError, match="nothing could be imported"):
        preview(Made(), ImportOptions(min_frames=99))


class Told(Made):
    """The same, of a source that knows the rate of its recordings, but no times."""

    def describe(self):
        return {"frame_rate": 20.0}


def test_a_rate_that_the_source_knows_need_not_be_said(tmp_path):
    options = {"split": "train", "frame_rate": 5.0, "resample_actions": "last"}
    brought(Told(), tmp_path / "out", **options)
    assert first(tmp_path / "out")[0] == [0, 4, 8]
    assert Store(tmp_path / "out" / "train").frame_rate == 5.0
