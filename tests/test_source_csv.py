"""CSVs as people have them: accepted where they mean one thing, and what is left out is said."""

import json

import numpy as np
import pytest
from PIL import Image

from foreframe.data.imports.importing import ImportOptions, import_dataset
from foreframe.data.lab import write_sequence
from foreframe.data.sources.csv_text import parse_csv
from foreframe.data.sources.lab_folders import LabSource
from foreframe.data.sources.row_times import match_rows
from foreframe.data.sources.source import UnusableError
from foreframe.data.sources.video import VideoSource
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.system.workers import Execution

pytest.importorskip("av")

WANTED = [[1.5, -2], [0.25, 40], [-3, 0.5]]
PLAIN = "1.5,-2\n0.25,40\n-3,0.5\n"


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        "\ufeff" + PLAIN,
        "dx,dy\n" + PLAIN,
        "# dx,dy\n" + PLAIN,
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace(",", ";").replace(".", ","),
        PLAIN.replace(",", "\t").replace(".", ","),
        "dx;dy\n" + PLAIN.replace(",", ";").replace(".", ","),
        "sep=;\n" + PLAIN.replace(",", ";"),
        PLAIN.replace("\n", ",\n"),
        "dx,dy\n" + PLAIN.replace("\n", ",\n"),
        "dx,dy,\n" + PLAIN.replace("\n", ",\n"),
        PLAIN.replace("\n", "\r\n"),
        '"dx";"dy"\n"1,5";"-2"\n"0,25";"40"\n"-3";"0,5"\n',
        "\n\n" + PLAIN + "\n\n",
    ],
)
def test_all_of_these_mean_the_same(text):
    found = parse_csv(text, "a.csv")
    assert found.values.tolist() == WANTED
    assert found.columns == (["dx", "dy"] if found.named else ["0", "1"])
    assert found.named == ("dx" in text)


def test_true_and_false_are_numbers_and_no_header():
    found = parse_csv("True,False\nfalse,TRUE\n", "a.csv")
    assert not found.named
    assert found.values.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,5;2.5\n", "line 1 has a decimal comma and line 1 a decimal point"),
        ("1.234,5;2\n", "line 1: is not a row of numbers"),
        ("1,2\n3,\n", "line 2: is not a row of numbers"),
        ("a,b\n1,2\n3,4,\n", "line 3: 3 columns, and not 2"),
        ("a,b,c\n1,2\n", "line 2: 2 columns, and not 3"),
        ("a,b\n1,yes\n", "line 2: is not a row"),
        ("1,2\nx,y\n", "line 2: is not a row"),
    ],
)
def test_what_may_mean_two_things_is_refused(text, said):
    with pytest.raises(UnusableError, match=said):
        parse_csv(text, "a.csv")


ROWS = "".join(f"{a},{b}\n" for a, b in WANTED)


@pytest.mark.parametrize(
    ("head", "numbers", "kept"),
    [
        (",dx,dy", range(3), [1, 2]),
        (",0,1", range(3), [1, 2]),
        ("index,dx,dy", range(1, 4), [1, 2]),
        ("Unnamed: 0,dx,dy", range(3), [1, 2]),
        ("frame,dx,dy", range(3), [1, 2]),
        (None, range(3), [1, 2]),
        (None, range(1, 4), [1, 2]),
        ("timestamp,dx,dy", [0.1, 0.25, 0.3], [1, 2]),
        ("time_ms,dx,dy", [100, 250, 300], [1, 2]),
        (
            "time,dx,dy",
            ["2026-01-02 03:04:05", "2026-01-02 03:04:06", "2026-01-02T03:04:07"],
            [1, 2],
        ),
        # What may be an action stays one.
        ("dz,dx,dy", range(3), [0, 1, 2]),
        ("index,dx,dy", [0, 2, 4], [0, 1, 2]),
        ("timestamp,dx,dy", [0.1, 0.3, 0.2], [0, 1, 2]),
        (None, [0, 1, 3], [0, 1, 2]),
        (None, [2, 3, 4], [0, 1, 2]),
    ],
)
def test_columns_that_number_or_time_the_rows_are_seen(head, numbers, kept):
    rows = [f"{n},{a},{b}" for n, (a, b) in zip(numbers, WANTED, strict=True)]
    found = parse_csv("\n".join([*([head] if head else []), *rows]), "a.csv")
    left_out = found.no_numbers_of_the_robot()
    assert [n for n in range(3) if n not in left_out] == kept
    assert all(said.startswith("column 0") for said in left_out.values())


# -- beside a video -----------------------------------------------------------------------------


def write_gif(path, count=12, rate=10):
    first, *others = (Image.fromarray(np.full((32, 48), 10 * n, np.uint8)) for n in range(count))
    path.parent.mkdir(parents=True, exist_ok=True)
    first.save(path, save_all=True, append_images=others, duration=1000 // rate)


def imported(source, out, told=None, **options):
    return import_dataset(
        source,
        out,
        ImportOptions(split="train", **options),
        execution=Execution(workers=1),
        log=(lambda text: None) if told is None else told.append,
    )


def greys(store):
    return [round(float(np.median(frame)) / 10) for frame in store[0].frames]


def test_the_row_numbers_of_pandas_are_no_action_and_are_said(tmp_path):
    rows = np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32)
    write_gif(tmp_path / "in" / "a.gif")
    lines = [f"{t},{x},{y}" for t, (x, y) in enumerate(rows)]
    (tmp_path / "in" / "a.csv").write_text("\n".join([",dx,dy", *lines]))
    told = []
    imported(VideoSource(tmp_path / "in"), tmp_path / "out", told)
    assert told == ["a.csv: column 0 numbers the rows and is left out"]
    assert np.array_equal(Store(tmp_path / "out" / "train")[0].actions, rows)
    description = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert description["columns"] == {"actions": ["dx", "dy"]}
    assert description["notes"] == told
    # Numbers of columns still count it, and who names it gets it.
    imported(VideoSource(tmp_path / "in", actions="0,2"), tmp_path / "named", told)
    assert len(told) == 1
    found = Store(tmp_path / "named" / "train")[0].actions
    assert np.array_equal(found, np.c_[np.arange(12), rows[:, 1]].astype(np.float32))


def log_of(times, path, name="time"):
    """A log with the number of each row as the action, and its half as the position."""
    lines = [f"{time!r},{n},{n / 2}" for n, time in enumerate(times)]
    path.write_text("\n".join([f"{name},a,p", *lines]))


@pytest.mark.parametrize(
    "clock",
    [
        lambda t: t,
        lambda t: 1000 * t,
        lambda t: 1_764_230_400 + t,
        lambda t: (1_764_230_400 + t) * 1e9,
    ],
)
def test_rows_are_matched_to_frames_by_their_times(tmp_path, clock):
    """A robot that is read five times for each frame, by whatever clock."""
    write_gif(tmp_path / "in" / "a.gif")
    log_of([float(clock(n / 50)) for n in range(60)], tmp_path / "in" / "a.csv")
    source = VideoSource(tmp_path / "in", positions="p", timestamps="time")
    told = []
    imported(source, tmp_path / "out", told, resample_actions="first")
    found = Store(tmp_path / "out" / "train")[0]
    assert found.actions[:, 0].tolist() == list(range(0, 60, 5))
    assert found.positions[:, 0].tolist() == [n / 2 for n in range(0, 60, 5)]
    assert told[-1].startswith("a.gif: 12 of 12 frames are matched to 12 of 60 rows, each within")
    imported(source, tmp_path / "sum", resample_actions="sum")
    sums = Store(tmp_path / "sum" / "train")[0].actions[:, 0]
    assert sums.tolist() == [sum(range(n, n + 5)) for n in range(0, 60, 5)]


def test_a_row_that_was_lost_moves_no_other(tmp_path):
    write_gif(tmp_path / "in" / "a.gif")
    times = [n / 50 for n in range(60) if n != 22]
    log_of(times, tmp_path / "in" / "a.csv")
    source = VideoSource(tmp_path / "in", timestamps="time")
    imported(source, tmp_path / "out", resample_actions="first")
    rows = Store(tmp_path / "out" / "train")[0].actions[:, 0].astype(int)
    assert [round(times[row] * 50) for row in rows] == list(range(0, 60, 5))


@pytest.mark.parametrize(
    ("begin", "end", "lost", "kept"),
    [(0, 40, 3, range(9)), (17, 60, 3, range(3, 12)), (17, 40, 6, range(3, 9))],
)
def test_frames_without_a_row_are_counted_or_cut(tmp_path, begin, end, lost, kept):
    """The log begins later or ends earlier than the video."""
    write_gif(tmp_path / "in" / "a.gif")
    log_of([n / 50 for n in range(begin, end)], tmp_path / "in" / "a.csv")
    source = VideoSource(tmp_path / "in", timestamps="time")
    with pytest.raises(ForeframeError, match=f"{lost} of 12 frames have no row of actions"):
        imported(source, tmp_path / "refused", resample_actions="first")
    imported(source, tmp_path / "out", resample_actions="first", lengths="shortest")
    store = Store(tmp_path / "out" / "train")
    assert greys(store) == list(kept)
    # The nearest row: where the log begins after the frame, its first.
    wanted = [max(5 * t, begin) - begin for t in kept]
    assert np.abs(store[0].actions[:, 0] - wanted).max() <= 2


def test_times_that_fall_or_never_meet_are_refused():
    frames = np.arange(10) / 10
    with pytest.raises(UnusableError, match="row 2 is before"):
        match_rows(frames, np.array([0, 0.2, 0.1]))
    with pytest.raises(UnusableError, match="not one frame"):
        match_rows(np.array([0.0, 0.1, 0.2, 10.0]), np.array([5.0, 5.1]))


def test_a_column_of_times_that_is_not_there_is_refused(tmp_path):
    write_gif(tmp_path / "a.gif")
    log_of([n / 10 for n in range(12)], tmp_path / "a.csv")
    with pytest.raises(ForeframeError, match="--timestamps when: there is no column when"):
        VideoSource(tmp_path, timestamps="when").parts()


# -- in the lab's layout ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        ("dx,dy\n" + PLAIN, []),
        (PLAIN.replace(",", ";").replace(".", ","), []),
        (
            ",dx,dy\n0,1.5,-2\n1,0.25,40\n2,-3,0.5\n",
            ["actions.csv: column 0 numbers the rows and is left out"],
        ),
    ],
)
def test_the_labs_layout_is_imported_with_such_tables(tmp_path, text, notes):
    folder = tmp_path / "in" / "train" / "a" / "0"
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    write_sequence(folder, frames, np.zeros((3, 2), np.float32), np.ones((3, 3), np.float32))
    (folder / "actions.csv").write_text(text)
    told = []
    imported(LabSource(tmp_path / "in"), tmp_path / "out", told)
    assert told == notes
    found = Store(tmp_path / "out" / "train")[0]
    assert found.actions.tolist() == WANTED
    assert found.positions.tolist() == [[1, 1, 1]] * 3


def test_the_labs_own_layout_keeps_every_column(tmp_path):
    """It has no header, so nothing says that a column numbers the rows."""
    folder = tmp_path / "in" / "train" / "a" / "0"
    rows = np.stack([np.arange(5), np.arange(5) ** 2], 1).astype(np.float32)
    write_sequence(folder, np.zeros((5, 8, 8, 3), np.uint8), rows)
    imported(LabSource(tmp_path / "in"), tmp_path / "out")
    assert np.array_equal(Store(tmp_path / "out" / "train")[0].actions, rows)
