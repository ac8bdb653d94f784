"""Writing a simulated dataset: same files from any number of workers, restarts, refusals."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foreframe.errors import ForeframeError
from foreframe.simulator.simulate import SimulateOptions, simulate
from foreframe.system.workers import Execution


def _simulate(
    out: Path,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
    **options: Any,
) -> None:
    simulate(
        out, SimulateOptions(**options), execution=Execution(workers=workers), progress=progress
    )


def _files(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != "dataset.json"
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulated") / "small"
    _simulate(out, sequences=3, seed=7, size=16)
    return out


def test_the_layout_is_the_lab_s(small: Path) -> None:
    for split in ("train", "validate", "test"):
        folder = small / split / "push_0_to_255" / "0"
        assert {path.name for path in folder.iterdir()} == {
            *(f"{t}.png" for t in range(30)),
            "actions.csv",
            "endeffector_positions.csv",
            "tracks.csv",
        }
    description = json.loads((small / "dataset.json").read_text())
    assert description["sequences"] == {"train": 1, "validate": 1, "test": 1}
    assert description["seed"] == 7
    assert description["complete"] is True
    assert len(description["actions"]) == 4
    assert description["frame_interval_seconds"] == 0.1
    assert description["mujoco"][0].isdigit()


def test_files_depend_neither_on_the_workers_nor_on_the_size_of_the_dataset(
    small: Path, tmp_path: Path
) -> None:
    _simulate(tmp_path / "larger", sequences=4, workers=2, seed=7, size=16)
    larger = _files(tmp_path / "larger")
    before = _files(small)
    assert len(larger) == len(before) // 3 * 4
    assert {name: larger[name] for name in before} == before


def test_an_interrupted_dataset_goes_on_and_comes_out_the_same(small: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        _simulate(out, sequences=3, seed=7, size=16, progress=stop)
    assert json.loads((out / "dataset.json").read_text())["complete"] is False
    kept = {name: (out / name).stat().st_mtime_ns for name in _files(out)}
    assert len(kept) == 2 * 33
    seen: list[tuple[int, int]] = []
    _simulate(
        out,
        sequences=3,
        seed=7,
        size=16,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(2, 3), (3, 3)]
    assert {name: (out / name).stat().st_mtime_ns for name in kept} == kept
    assert _files(out) == _files(small)


def test_other_settings_or_fewer_sequences_are_refused_and_nothing_is_lost(small: Path) -> None:
    before = _files(small)
    with pytest.raises(ForeframeError, match="seed is 7 there and 8 here"):
        _simulate(small, sequences=3, seed=8, size=16)
    with pytest.raises(ForeframeError, match="size"):
        _simulate(small, sequences=3, seed=7, size=32)
    assert _files(small) == before


def test_a_smaller_dataset_is_refused(tmp_path: Path) -> None:
    _simulate(tmp_path / "out", sequences=4, size=16)
    with pytest.raises(ForeframeError, match="train has 2 sequences there and 1 here"):
        _simulate(tmp_path / "out", sequences=3, size=16)


@pytest.mark.parametrize("name", ["notes.txt", "dataset.json"])
def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(ForeframeError, match="choose"):
        _simulate(tmp_path, sequences=3, size=16)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ForeframeError, match="file"):
        _simulate(tmp_path / "file" / "out", sequences=3, size=16)
    with pytest.raises(ForeframeError, match="is a file"):
        _simulate(tmp_path / "file", sequences=3, size=16)


@pytest.mark.parametrize(
    ("flag", "settings"),
    [
        ("--sequences 2", {"sequences": 2}),
        ("--sequences 9", {"sequences": 9, "validate": 9}),
        ("--sequences 9", {"sequences": 9, "test": 0}),
        ("--workers 0", {"sequences": 9, "workers": 0}),
        ("--seed -1", {"sequences": 9, "seed": -1}),
        ("--size 63", {"sequences": 9, "size": 63}),
    ],
)
def test_impossible_numbers_are_refused(
    tmp_path: Path, flag: str, settings: dict[str, Any]
) -> None:
    with pytest.raises(ForeframeError, match=flag):
        _simulate(tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_without_mujoco_the_message_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("foreframe.simulator.")]:
        if name != "foreframe.simulator.simulate":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(ForeframeError, match="mujoco-core"):
        _simulate(tmp_path / "out", sequences=3)
    assert not (tmp_path / "out").exists()
