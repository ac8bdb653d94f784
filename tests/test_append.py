"""More into a finished import: nothing moves, nothing leaks, and a kill leaves what was there."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from foreframe.commands.app import main
from foreframe.data.imports import importing
from foreframe.data.imports.importing import ImportOptions, import_dataset
from foreframe.data.sources.source import Part, RawRecording, Source
from foreframe.data.store.opened import open_stores
from foreframe.errors import ForeframeError
from foreframe.system.workers import Execution

HERE = Execution(workers=1)


@dataclass(frozen=True)
class ShelfSource(Source):
    """A file a recording: its name is the recording's, its number is in every pixel and action.

    From 200 on they are twice as fast, from 220 on their actions are wider.
    """

    input: Path
    per_part: int = 4

    def parts(self):
        files = sorted(self.input.glob("*.txt"))
        return [
            Part(f"part-{k}", self.input, None, {"first": k}, tuple(files[k : k + self.per_part]))
            for k in range(0, len(files), self.per_part)
        ]

    def lengths(self, part):
        return [(path.stem, 9) for path in part.others]

    def group(self, name):
        return name.split("_")[0]

    def read(self, part):
        for path in part.others:
            text = path.read_text()
            number = int(text) if text.isdigit() else 0
            count = 9 if text.isdigit() else 0  # a damaged one has no frames
            yield RawRecording(
                path.stem,
                np.full((count, 64, 64, 3), number, np.uint8),
                np.full((9, 3 if number >= 220 else 2), number, np.float32),
                times=np.arange(9) / (20 if 200 <= number < 220 else 10),
            )


def shelve(folder, numbers, name="r{:03d}"):
    folder.mkdir(exist_ok=True)
    for number in numbers:
        (folder / f"{name.format(number)}.txt").write_text(str(number))


def run(source, out, said=None, append=True, options=None, **others):
    log = (lambda text: None) if said is None else said.append
    return import_dataset(source, out, options, execution=HERE, append=append, log=log, **others)


def places(out):
    """The split of each recording, and the number that its frames and actions show."""
    found = {}
    for split, store in open_stores(out).items():
        for k, name in enumerate(store.recordings):
            recording = store[k]
            assert (recording.actions == recording.frames[0, 0, 0, 0]).all()
            assert name not in found
            found[name] = (split, int(recording.frames[0, 0, 0, 0]))
    return found


def digests(out):
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def test_what_has_come_is_taken_in_and_nothing_moves(tmp_path):
    shelf, out = tmp_path / "shelf", tmp_path / "out"
    shelve(shelf, range(0, 40, 2))
    run(ShelfSource(shelf), out, append=False)
    before, files = places(out), digests(out)
    shelve(shelf, range(1, 40, 2))  # between those that are there
    said = []
    done = run(ShelfSource(shelf), out, said)
    after = places(out)
    assert {name: number for name, (_, number) in after.items()} == {
        f"r{number:03d}": number for number in range(40)
    }
    assert {name: after[name] for name in before} == before
    kept = {name: file for name, file in digests(out).items() if name.endswith(".bin")}
    assert {name: kept[name] for name in files if name.endswith(".bin")}.items() <= files.items()
    # The shares are those of one import of all.
    assert done.sequences == {"train": 32, "validate": 4, "test": 4}
    assert said == [f"{out}: taken in: 16 to train, 2 to validate, 2 to test."]
    # The statistics, too.
    shown = [number for split, number in after.values() if split == "train"]
    assert done.statistics["actions"].mean[0] == pytest.approx(np.mean(shown))
    assert not (out / ".import").exists()


def test_it_can_be_done_again_and_again(tmp_path):
    shelf, out = tmp_path / "shelf", tmp_path / "out"
    for end in (10, 11, 13, 30):
        shelve(shelf, range(end))
        done = run(ShelfSource(shelf), out)
        assert sorted(places(out)) == [f"r{number:03d}" for number in range(end)]
    assert done.sequences == {"train": 24, "validate": 3, "test": 3}
    before, said = digests(out), []
    run(ShelfSource(shelf), out, said)
    assert digests(out) == before
    assert said == [f"{out}: {shelf} holds no recording that is not in it."]
    appended = json.loads((out / "dataset.json").read_text())["appended"]
    assert [sum(one["sequences"].values()) for one in appended] == [1, 2, 17]


def test_recordings_of_one_group_follow_those_that_are_there(tmp_path):
    shelf, out = tmp_path / "shelf", tmp_path / "out"
    for day in range(20):
        shelve(shelf, range(2), name=f"day{day}_{{}}")
    run(ShelfSource(shelf), out, append=False)
    of_day = {name.split("_")[0]: split for name, (split, _) in places(out).items()}
    for day in range(25):
        shelve(shelf, range(5), name=f"day{day}_{{}}")
    run(ShelfSource(shelf), out)
    for name, (split, _) in places(out).items():
        assert of_day.setdefault(name.split("_")[0], split) == split


def test_recordings_of_another_folder_have_its_name_before_theirs(tmp_path):
    first, second = tmp_path / "monday", tmp_path / "tuesday"
    third = tmp_path / "again" / "tuesday"
    third.parent.mkdir()
    out = tmp_path / "out"
    for folder, start in ((first, 0), (second, 50), (third, 100)):
        shelve(folder, range(3))
        for path in folder.glob("*.txt"):  # the same names, other content
            path.write_text(str(int(path.read_text()) + start))
    for folder in (first, second, third, second):
        run(ShelfSource(folder), out)
    numbers = {name: number for name, (_, number) in places(out).items()}
    assert numbers == {
        **{f"r00{k}": k for k in range(3)},
        **{f"tuesday/r00{k}": 50 + k for k in range(3)},
        **{f"tuesday-2/r00{k}": 100 + k for k in range(3)},
    }


@pytest.mark.parametrize("moment", ["part", "meta", "end"])
def test_a_kill_leaves_what_was_there_and_the_same_call_goes_on(tmp_path, monkeypatch, moment):
    shelf = tmp_path / "shelf"
    shelve(shelf, range(20))
    outs = [tmp_path / name / "out" for name in ("whole", "killed")]
    for out in outs:
        run(ShelfSource(shelf), out, append=False)
    there = places(outs[1])
    shelve(shelf, range(20, 40))
    run(ShelfSource(shelf), outs[0])

    class Killed(BaseException):
        pass

    def killed(*arguments, **others):
        raise Killed

    with monkeypatch.context() as patch:
        if moment == "part":
            original, calls = importing.import_part, []

            def twice(job):
                calls.append(job)
                if len(calls) > 2:
                    raise Killed
                original(job)

            patch.setattr(importing, "import_part", twice)
        else:
            from foreframe.data.imports import description

            if moment == "meta":  # after that of train
                join = description.join_shards

                def once(folder, *arguments):
                    if folder.name != "train":
                        raise Killed
                    join(folder, *arguments)

                patch.setattr(description, "join_shards", once)
            else:
                patch.setattr(description, "write_json", killed)
        with pytest.raises(Killed):
            run(ShelfSource(shelf), outs[1])
    half = places(outs[1])
    assert {name: half[name] for name in there} == there
    if moment == "part":
        assert half == there
    run(ShelfSource(shelf), outs[1])
    assert digests(outs[1]) == digests(outs[0])


def test_a_damaged_one_is_looked_at_again_only_when_it_was_changed(tmp_path):
    shelf, out = tmp_path / "shelf", tmp_path / "out"
    shelve(shelf, range(10))
    (shelf / "r005.txt").write_text("damaged")
    done = run(ShelfSource(shelf), out, append=False)
    assert [skip.name for skip in done.skipped] == ["r005"]
    said = []
    assert run(ShelfSource(shelf), out, said).skipped == done.skipped
    assert "no recording that is not in it" in said.pop()
    (shelf / "r005.txt").write_text("5")
    assert run(ShelfSource(shelf), out).skipped == ()
    assert places(out)["r005"] == ("train", 5)


def test_a_list_of_splits_may_grow_and_moves_nothing(tmp_path):
    shelf, out, listed = tmp_path / "shelf", tmp_path / "out", tmp_path / "splits.csv"
    shelve(shelf, range(6))
    options = ImportOptions(split_file=listed)
    lines = ["r000,train", "r001,validate", "r002,test"]
    listed.write_text("\n".join(lines))
    run(ShelfSource(shelf), out, append=False, options=options)
    listed.write_text("\n".join([*lines, "r003,test"]))
    run(ShelfSource(shelf), out, options=options)
    assert {name: split for name, (split, _) in places(out).items()} == {
        "r000": "train",
        "r001": "validate",
        "r002": "test",
        "r003": "test",
    }
    listed.write_text("r000,test\nr004,train")
    with pytest.raises(ForeframeError, match="r000 is in train already, not in test"):
        run(ShelfSource(shelf), out, options=options)


def test_what_does_not_fit_is_refused_and_nothing_is_lost(tmp_path):
    shelf, out = tmp_path / "shelf", tmp_path / "out"
    faster, wider = tmp_path / "faster", tmp_path / "wider"
    shelve(shelf, range(8))
    run(ShelfSource(shelf), out, append=False)
    before = digests(out)
    shelve(faster, range(200, 204))
    shelve(wider, range(220, 224))
    with pytest.raises(ForeframeError, match=r"options\.size is 64 there and 32 here"):
        run(ShelfSource(faster), out, options=ImportOptions(size=32))
    with pytest.raises(ForeframeError, match="have 20 frames a second, and the dataset 10"):
        run(ShelfSource(faster), out)
    refused = re.escape("3 numbers in the actions, but 2 numbers in those of the first")
    with pytest.raises(ForeframeError, match=refused):
        run(ShelfSource(wider), out)
    kept = {name: digest for name, digest in digests(out).items() if ".import" not in name}
    assert kept == before


def test_the_command_takes_in_what_has_come(tmp_path, capsys):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    frames = np.zeros((4, 6, 64, 64, 3), np.uint8)
    actions = np.zeros((4, 6, 2), np.float32)
    np.savez(source / "a.npz", frames=frames, actions=actions)
    words = ["import", "npz", str(source), str(out), "--frames", "frames", "--actions", "actions"]
    main(words)
    np.savez(source / "b.npz", frames=frames, actions=actions)
    main(words)
    assert "new files (b.npz) since then: --append takes new recordings in" in " ".join(
        capsys.readouterr().out.split()
    )
    main([*words, "--append"])
    assert sum(len(store) for store in open_stores(out).values()) == 8
    assert "taken in" in capsys.readouterr().out


def test_another_spelling_of_the_same_folder_is_no_other_input(tmp_path, monkeypatch):
    """Else all of it would come in again, and some of it into another split."""
    shelf, out = tmp_path / "shelf", tmp_path / "out"
    shelve(shelf, range(12))
    (tmp_path / "link").symlink_to(shelf)
    monkeypatch.chdir(tmp_path)
    run(ShelfSource(Path("shelf")), out)
    before = places(out)
    shelve(shelf, range(12, 14))
    for spelling in (shelf, Path("link"), tmp_path / "out" / ".." / "shelf"):
        run(ShelfSource(spelling), out)
        after = places(out)
        assert len(after) == 14
        assert {name: after[name] for name in before} == before


def test_a_prefix_is_not_the_beginning_of_names_that_are_there(tmp_path):
    shelf, other, out = tmp_path / "shelf", tmp_path / "b", tmp_path / "out"
    shelve(shelf, range(6))
    shelve(other, range(50, 53))
    run(ShelfSource(shelf), out, append=False)
    for split in open_stores(out):  # as of a folder in the first input
        path = out / split / "meta.json"
        path.write_text(path.read_text().replace('"r00', '"b/r00'))
    run(ShelfSource(other), out)
    assert sum(name.startswith("b-2/") for name in places(out)) == 3


@pytest.mark.parametrize("splits", [("train",), ("train", "validate", "test")])
def test_what_a_kill_left_half_named_is_put_back_whatever_comes_next(tmp_path, monkeypatch, splits):
    from foreframe.data.imports import description

    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    out = tmp_path / "out"
    shelve(first, range(12))
    shelve(second, range(50, 80))
    shelve(third, range(100, 104))
    run(ShelfSource(first), out, append=False)
    before = digests(out)

    class Killed(BaseException):
        pass

    join = description.join_shards

    def some(folder, *arguments):
        if folder.name not in splits:
            raise Killed
        join(folder, *arguments)

    def killed(*arguments):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(description, "join_shards", some)
        patch.setattr(description, "write_json", killed)
        with pytest.raises(Killed):
            run(ShelfSource(second), out)
    run(ShelfSource(first), out)  # nothing new in it
    kept = digests(out)
    assert {name: kept[name] for name in before} == before
    for source in (second, third, second):
        run(ShelfSource(source), out)
    numbers = sorted(number for _, number in places(out).values())
    assert numbers == [*range(12), *range(50, 80), *range(100, 104)]


def test_an_append_that_ended_in_the_meantime_is_seen(tmp_path, monkeypatch):
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    out = tmp_path / "out"
    for folder, start in ((first, 0), (second, 50), (third, 100)):
        shelve(folder, range(start, start + 6))
    run(ShelfSource(first), out, append=False)
    listed = ShelfSource.parts

    def slowly(self):
        if self.input == third and not done:
            done.append(True)
            run(ShelfSource(second), out)
        return listed(self)

    done = []
    monkeypatch.setattr(ShelfSource, "parts", slowly)
    run(ShelfSource(third), out)
    assert len(places(out)) == 18
    appended = json.loads((out / "dataset.json").read_text())["appended"]
    assert [one["prefix"] for one in appended] == ["second/", "third/"]
