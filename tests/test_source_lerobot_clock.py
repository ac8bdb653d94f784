"""LeRobotDatasets as recorders leave them: clocks of their own, tasks, several in a folder."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from foreframe.data.imports.importing import ImportOptions, import_dataset
from foreframe.data.sources.lerobot import LerobotSource
from foreframe.data.sources.lerobot_clock import fit_clock
from foreframe.data.sources.source import UnusableError
from foreframe.errors import ForeframeError
from foreframe.system.workers import Execution
from tests.test_source_lerobot import (
    FPS,
    FRONT,
    LENGTHS,
    VERSIONS,
    agree,
    data_file,
    edit_column,
    edit_episodes,
    everything,
    film,
    lines,
    marked,
    pa,
    pq,
    video_file,
    write,
    write_table,
)

UNIX = 1_764_230_400.0


def set_clock(root, clock, dtype=None):
    """Give every row the time that ``clock`` makes of its number."""
    for file in {data_file(root, k) for k in range(len(LENGTHS))}:
        rows = pq.read_table(file).column("frame_index").to_pylist()
        values = np.array([clock(row) for row in rows], dtype or np.float64)
        edit_column(file, "timestamp", lambda old, new=values: new)


CLOCKS = {
    "9 rows a second": lambda t: t / 9,
    "seconds since 1970": lambda t: UNIX + t / 9.6,
    "milliseconds": lambda t: 1000 * t / FPS,
    "an episode that begins at 3.2 s": lambda t: 3.2 + t / FPS,
    "a jittering clock": lambda t: UNIX + t / 9.9 + 0.03 * np.sin(5 * t),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("clock", CLOCKS)
def test_another_clock_than_the_videos_is_fitted(tmp_path, version, clock):
    write(tmp_path, version)
    set_clock(tmp_path, CLOCKS[clock])
    source = LerobotSource(tmp_path)
    recordings, skips = everything(source)
    assert not skips
    agree(recordings)
    (note,) = source.describe()["notes"]
    assert note.startswith("episode-000000: its timestamps are not the rows' numbers")
    assert "rows a second from" in note


@pytest.mark.parametrize("version", VERSIONS)
def test_seconds_since_1970_in_float32_leave_the_numbers_of_the_rows(tmp_path, version):
    write(tmp_path, version)
    set_clock(tmp_path, lambda t: UNIX + t / FPS, np.float32)
    recordings, skips = everything(LerobotSource(tmp_path))
    assert not skips
    agree(recordings)


def test_the_fit_says_where_the_clock_begins_and_how_fast_it_is(tmp_path):
    write(tmp_path, "v2.1")
    set_clock(tmp_path, lambda t: 3.2 + t / 9.6)
    source = LerobotSource(tmp_path)
    assert "9.6 rows a second from 3.2 on, each within 0.000 s" in source.describe()["notes"][0]
    recordings = [found for part in source.parts() for found in source.read(part)]
    assert [recording.rate for recording in recordings] == pytest.approx([FPS] * 4)


def test_an_even_clock_is_not_worth_a_word(tmp_path):
    write(tmp_path, "v2.1")
    assert "notes" not in LerobotSource(tmp_path).describe()


def test_the_fit_is_said_by_the_import(tmp_path):
    write(tmp_path / "in", "v2.1")
    set_clock(tmp_path / "in", lambda t: t / 9)
    told = []
    import_dataset(
        LerobotSource(tmp_path / "in"),
        tmp_path / "out",
        ImportOptions(),
        execution=Execution(workers=1),
        log=told.append,
    )
    assert any("9 rows a second" in line for line in told)
    description = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert "9 rows a second" in description["notes"][0]


@pytest.mark.parametrize(
    "times",
    [
        np.r_[0:6, 9:15] / FPS,  # it stood still for a while
        np.arange(12) / (2 * FPS),
        np.arange(12) ** 1.5 / FPS,
    ],
)
def test_a_clock_that_no_even_one_explains_is_refused(tmp_path, times):
    write(tmp_path, "v2.1")
    edit_column(data_file(tmp_path, 2), "timestamp", lambda old: times.tolist())
    recordings, (skip,) = everything(LerobotSource(tmp_path))
    agree(recordings, [0, 1, 3])
    assert "frames for 12 rows" in skip.reason


@pytest.mark.parametrize("lost", [0, 4, 11])
def test_rows_that_are_missing_are_not_explained_by_a_clock(tmp_path, lost):
    """Frames and rows are matched by their numbers only where there are equally many."""
    write(tmp_path, "v2.1")
    set_clock(tmp_path, lambda t: 7.0 + t / 9.6)
    path = data_file(tmp_path, 2)
    rows = pq.read_table(path)
    write_table(path, pa.concat_tables([rows.slice(0, lost), rows.slice(lost + 1)]))
    edit_episodes(
        tmp_path, lambda row: row.update(length=row["length"] - (row["episode_index"] == 2))
    )
    recordings, (skip,) = everything(LerobotSource(tmp_path))
    agree(recordings, [0, 1, 3])
    assert skip.name.startswith("episode-000002")


def test_frames_that_are_missing_are_not_explained_by_a_clock(tmp_path):
    write(tmp_path, "v2.1")
    set_clock(tmp_path, lambda t: 7.0 + t / 9.6)
    film(video_file(tmp_path, 2), [marked(2, t) for t in range(11)])
    recordings, skips = everything(LerobotSource(tmp_path))
    agree(recordings, [0, 1, 3])
    assert len(skips) == 1


def test_the_fit_of_a_clock():
    fit = fit_clock(5.0 + np.arange(100) / 9.7 + 0.01 * (-1.0) ** np.arange(100), 10)
    assert (round(fit.begin, 1), round(fit.rate, 2), round(fit.worst, 2)) == (5, 9.7, 0.01)
    assert fit_clock(1e9 * np.arange(9) / 30, 30).rate == pytest.approx(30)
    with pytest.raises(UnusableError, match="20 rows a second, where 10"):
        fit_clock(np.arange(9) / 20, 10)
    with pytest.raises(UnusableError, match="more than half a row"):
        fit_clock(np.r_[0:50, 55:105] / 10, 10)


# -- tasks --------------------------------------------------------------------------------------


def tasks(root):
    source = LerobotSource(root)
    return [found.task for part in source.parts() for found in source.read(part)]


@pytest.mark.parametrize("version", VERSIONS)
def test_tasks_are_kept_in_words(tmp_path, version):
    write(tmp_path, version)
    assert tasks(tmp_path) == ["push"] * 4
    words = ["push", "pick up the cup", "open the drawer"]
    if version == "v2.1":
        rows = [{"task_index": k, "task": word} for k, word in enumerate(words)]
        lines(tmp_path / "meta/tasks.jsonl", rows)
    else:  # as pandas writes an index
        table = pa.table({"task_index": [0, 1, 2], "__index_level_0__": words})
        write_table(tmp_path / "meta/tasks.parquet", table)
    episodes = pq.read_table(data_file(tmp_path, 2)).column("episode_index").to_pylist()
    edit_column(
        data_file(tmp_path, 2),
        "task_index",
        lambda old: [(1 + (t > 4)) * (k == 2) for t, k in enumerate_rows(episodes)],
    )
    assert tasks(tmp_path)[:3] == ["push", "push", "pick up the cup; open the drawer"]


def enumerate_rows(episodes):
    """Number of each row in its episode, and the episode."""
    seen = {}
    for k in episodes:
        yield seen.setdefault(k, 0), k
        seen[k] += 1


def test_without_a_list_of_tasks_nothing_is_missing(tmp_path):
    write(tmp_path, "v2.1")
    (tmp_path / "meta/tasks.jsonl").write_text("{no json")
    edit_column(data_file(tmp_path, 1), "task_index", None)
    assert tasks(tmp_path) == [""] * 4


# -- depth --------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_pictures_of_depth_in_the_parquet_are_refused(tmp_path, version):
    """Clipped to 255 they would be white."""
    write(tmp_path, version, dtype="image")
    file = io.BytesIO()
    Image.fromarray(np.full((64, 80), 3000, np.uint16)).save(file, "PNG")
    deep = {"bytes": file.getvalue(), "path": None}
    edit_column(data_file(tmp_path, 0), FRONT, lambda old: [deep] * len(old))
    recordings, skips = everything(LerobotSource(tmp_path))
    assert 0 not in recordings
    assert "16 or 32 bits a pixel" in skips[0].reason


# -- several datasets ---------------------------------------------------------------------------


def test_a_folder_of_several_datasets_lists_them(tmp_path):
    for name in ("lab/push", "lab/pick", "other"):
        write(tmp_path / "all" / name, "v2.1", lengths=(5,))
    said = "holds 3 LeRobotDatasets: lab/pick, lab/push, other. Import one"
    with pytest.raises(ForeframeError, match=said):
        LerobotSource(tmp_path / "all").parts()
    # One's metadata above the others, as a careless copy leaves them.
    (tmp_path / "all/other/meta").rename(tmp_path / "all/meta")
    with pytest.raises(ForeframeError, match="holds 2 LeRobotDatasets: lab/pick, lab/push"):
        LerobotSource(tmp_path / "all").parts()
