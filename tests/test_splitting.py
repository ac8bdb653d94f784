"""What belongs together stays together when recordings are divided; lists are obeyed."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from foreframe.data.imports.importing import ImportOptions, import_dataset
from foreframe.data.sources.source import Part, RawRecording, Source
from foreframe.data.sources.video import VideoSource
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.system.workers import Execution


@dataclass(frozen=True)
class Named(Source):
    """Recordings of six grey frames with these names."""

    names: tuple[str, ...]
    task: str = ""
    clips: int = 6
    input: str = "named"

    def parts(self) -> list[Part]:
        return [Part("all", Path(__file__))]

    def lengths(self, part: Part) -> list[tuple[str, int]]:
        return [(name, self.clips) for name in self.names]

    def read(self, part: Part) -> Iterator[RawRecording]:
        for k, name in enumerate(self.names):
            frames = np.full((self.clips, 8, 8, 3), k, np.uint8)
            yield RawRecording(name, frames, task=f"{self.task} {name}" if self.task else "")


class Film(Named):
    """The same, grouped as videos are."""

    def group(self, name: str) -> str:
        return VideoSource(Path()).group(name)


def brought(source, out, **options):
    said = []
    done = import_dataset(
        source,
        out,
        replace(ImportOptions(size=8), **options),
        execution=Execution(workers=1),
        log=said.append,
    )
    splits = {split: Store(out / split).recordings for split in done.sequences}
    return splits, said


VIEWS = tuple(f"{k}/{camera}.mp4" for k in range(10) for camera in ("top", "wrist"))


def test_views_in_one_folder_are_never_in_two_splits(tmp_path):
    splits, said = brought(Film(VIEWS), tmp_path / "out", validate=0.2, test=0.2)
    where = defaultdict(set)
    for split, names in splits.items():
        for name in names:
            where[name.partition("/")[0]].add(split)
    assert all(len(found) == 1 for found in where.values())
    assert {split: len(names) for split, names in splits.items()} == {
        "train": 12,
        "validate": 4,
        "test": 4,
    }
    assert "10 groups" in said[0]
    assert "--group" in said[0]


def test_a_flat_folder_is_divided_video_by_video(tmp_path):
    flat = tuple(f"{k}.mp4" for k in range(10))
    splits, said = brought(Film(flat), tmp_path / "flat")
    assert {split: len(names) for split, names in splits.items()} == {
        "train": 8,
        "validate": 1,
        "test": 1,
    }
    assert not said
    one, _ = brought(Film(tuple(f"all/{name}" for name in flat)), tmp_path / "one")
    assert {split: len(names) for split, names in one.items()} == {
        "train": 8,
        "validate": 1,
        "test": 1,
    }


def test_a_pattern_says_what_belongs_together(tmp_path):
    names = tuple(f"day{day}-{k}" for day in range(5) for k in range(4))
    splits, _ = brought(Named(names), tmp_path / "out", group=r"^day(\d)", validate=0.2, test=0.2)
    assert {len(found) for found in splits.values()} == {4, 12}
    days = [{name.partition("-")[0] for name in found} for found in splits.values()]
    assert sum(map(len, days)) == 5
    with pytest.raises(ForeframeError, match="all 20 recordings belong to day, too few groups"):
        brought(Named(names), tmp_path / "no", group="^day")
    with pytest.raises(ForeframeError, match="no regular expression"):
        brought(Named(names), tmp_path / "no", group="(")


def test_a_list_of_splits_is_obeyed(tmp_path):
    listed = tmp_path / "splits.csv"
    listed.write_text("name,split\na,train\nb,val\nc,test\nd,train\n")
    splits, _ = brought(Named(tuple("abcde")), tmp_path / "out", split_file=listed)
    assert splits == {"train": ["a", "d"], "validate": ["b"], "test": ["c"]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,train\nx,test\n", "line 2: there is no recording 'x'; there are a, b, c"),
        ("a,train\nb,later\n", "line 2: 'later' is no split"),
        ("a,train\nb\n", "line 2: 1 columns"),
        ("a,train\na,test\n", "line 2: a is in train already"),
        ("", "names no recording"),
    ],
)
def test_a_list_that_cannot_be_obeyed_is_refused(tmp_path, text, words):
    listed = tmp_path / "splits.csv"
    listed.write_text(text)
    with pytest.raises(ForeframeError, match=words):
        brought(Named(tuple("abcde")), tmp_path / "out", split_file=listed)
    with pytest.raises(ForeframeError, match="no such file"):
        brought(Named(tuple("abcde")), tmp_path / "out", split_file=tmp_path / "none.csv")
    assert not (tmp_path / "out" / "train").exists()


def test_clips_know_their_recording_and_its_task(tmp_path):
    source = Named(tuple("abc"), task="lift", clips=13)
    brought(source, tmp_path / "out", split="train", clip_frames=6)
    store = Store(tmp_path / "out" / "train")
    assert store.names == ["a@0", "a@6", "b@0", "b@6", "c@0", "c@6"]
    assert store.recordings == ["a", "a", "b", "b", "c", "c"]
    assert store.tasks == [f"lift {name}" for name in "aabbcc"]
    brought(Named(tuple("abc")), tmp_path / "plain", split="train")
    plain = Store(tmp_path / "plain" / "train")
    assert plain.recordings == plain.names
    assert plain.tasks == ["", "", ""]
    assert not any(key in plain.meta["shards"][0] for key in ("recordings", "tasks"))
