"""A run is gone on with on its own data and settings only, or knowingly on others."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from foreframe.commands.app import main
from foreframe.data.lab import list_sequences, write_sequence
from foreframe.data.store.store import Store
from foreframe.data.store.writer import write_store
from foreframe.errors import ForeframeError
from foreframe.runs.folder import BEST, HISTORY, LAST, LAST_GOOD, LAST_PREVIOUS, RUN_CONFIG
from foreframe.runs.kinematics import KINEMATICS
from foreframe.runs.weights import read_tensors, write_tensors
from foreframe.training.checkpoint import Checkpoint
from foreframe.training.listener import Listener
from foreframe.training.options import TrainOptions
from foreframe.training.start import start

CPU = TrainOptions(device="cpu", threads=1)
RESUME = replace(CPU, resume=True)
CHANGED = replace(RESUME, data_changed=True)


class Heard(Listener):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)


@pytest.fixture
def run(whole, tmp_path) -> Path:
    """The run in the middle of its second epoch."""
    return whole.copied(whole.saves[-2], tmp_path / "run")


@pytest.fixture
def data(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole.data, tmp_path / "data"))


def with_other_recordings(data: Path, split: str, numbers: list[int]) -> None:
    """The same split with these of its recordings."""
    recordings = list(Store(data / split))
    shutil.rmtree(data / split)
    with write_store(data / split) as out:
        for k, number in enumerate(numbers):
            out.add(recordings[number], str(k))


def without_one(data: Path) -> None:
    with_other_recordings(data, "train", [0])


def of_other_contents(data: Path) -> None:
    recordings = list(Store(data / "train"))
    shutil.rmtree(data / "train")
    with write_store(data / "train") as out:
        for n, recording in enumerate(recordings):
            frames = recording.frames.copy()
            frames[0, 0, 0, 0] ^= 1
            out.add(replace(recording, frames=frames), str(n))


DATA = {
    "a sequence less": (
        without_one,
        "train has 1 sequences in place of 2, 6 frames in place of 12",
    ),
    "another validation": (
        lambda data: with_other_recordings(data, "validate", [0, 0]),
        "validate has 2 sequences in place of 1",
    ),
    "one bit of a picture": (of_other_contents, "train has the same numbers .* other contents"),
}


@pytest.mark.parametrize("change", DATA)
def test_other_data_are_refused_and_what_differs_is_said(whole, run, data, change):
    make, words = DATA[change]
    make(data)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(ForeframeError, match=rf"{words}.*--data-changed"):
        start(whole.config, data, run, RESUME)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_data_that_moved_are_the_same_data(whole, run, data):
    heard = Heard()
    assert start(whole.config, data, run, RESUME, listener=heard).progress.step == 2
    assert heard.messages == []


def test_other_data_are_gone_on_with_knowingly_and_put_on_record(whole, run, data):
    without_one(data)
    heard = Heard()
    training = start(whole.config, data, run, CHANGED, listener=heard)
    assert any("as you asked" in text for text in heard.messages)
    noted = json.loads((run / RUN_CONFIG).read_text())
    (change,) = noted["data_changes"]
    assert (change["epoch"], change["step"]) == (1, 2)
    assert change["before"]["splits"]["train"]["sequences"] == 2
    assert noted["splits"]["train"]["sequences"] == 1
    assert noted["data"] == str(data)
    # A kill before the next save: run.json is ahead of the checkpoint, and the same words go on.
    with pytest.raises(ForeframeError, match="another configuration"):
        start(whole.config, data, run, RESUME)
    training = start(whole.config, data, run, CHANGED)
    assert len(json.loads((run / RUN_CONFIG).read_text())["data_changes"]) == 1
    training._save_last()
    # Now they are its data, and the old ones are others.
    assert start(whole.config, data, run, RESUME).progress.step == 2
    with pytest.raises(ForeframeError, match=r"train has 2 sequences in place of 1"):
        start(whole.config, whole.data, run, RESUME)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda v: v["train"].update(seed=5), "train.seed is 0 there and 5 here"),
        (lambda v: v["train"]["rate"].update(lr=0.1), "train.rate.lr is 0.002 there and 0.1 here"),
        (lambda v: v["train"].update(epochs=9), "train.epochs is 2 there and 9 here"),
        (lambda v: v["model"].update(g_dim=10**9), "model.g_dim"),
        (lambda v: v["splits"]["train"].update(fingerprint="0" * 64), "splits.train.fingerprint"),
        (lambda v: v.pop("splits"), "splits"),
    ],
    ids=["seed", "lr", "epochs", "model", "fingerprint", "no record"],
)
def test_edited_settings_are_refused_and_what_differs_is_said(whole, run, edit, words):
    values = json.loads((run / RUN_CONFIG).read_text())
    edit(values)
    (run / RUN_CONFIG).write_text(json.dumps(values))
    with pytest.raises(ForeframeError, match=rf"last\.safetensors: .*run\.json.*{words}"):
        start(whole.config, whole.data, run, RESUME)


def test_data_changed_is_no_leave_to_change_the_settings(whole, run):
    values = json.loads((run / RUN_CONFIG).read_text())
    values["train"]["seed"] = 5
    (run / RUN_CONFIG).write_text(json.dumps(values))
    with pytest.raises(ForeframeError, match=r"train.seed is 0 there and 5 here"):
        start(whole.config, whole.data, run, CHANGED)


def test_settings_in_another_layout_are_the_same_settings(whole, run):
    values = json.loads((run / RUN_CONFIG).read_text())
    (run / RUN_CONFIG).write_text(json.dumps(dict(reversed(values.items()))))
    assert start(whole.config, whole.data, run, RESUME).progress.step == 2


def test_a_run_without_records_goes_on_with_a_word_and_has_them_from_then_on(whole, run, data):
    values = json.loads((run / RUN_CONFIG).read_text())
    del values["splits"]
    (run / RUN_CONFIG).write_text(json.dumps(values))
    tensors, metadata = read_tensors(run / LAST)
    write_tensors(run / LAST, tensors, {"progress": metadata["progress"]})
    heard = Heard()
    training = start(whole.config, whole.data, run, RESUME, listener=heard)
    assert ["earlier version" in text for text in heard.messages] == [True, True]
    training._save_last()
    assert Checkpoint.read(run).settings is not None
    without_one(data)
    with pytest.raises(ForeframeError, match=r"train has 1 sequences in place of 2"):
        start(whole.config, data, run, RESUME)


def test_data_changed_without_a_resume_is_refused(whole, tmp_path):
    with pytest.raises(ForeframeError, match=r"--data-changed: .*--resume"):
        start(whole.config, whole.data, tmp_path / "new", replace(CPU, data_changed=True))
    assert not (tmp_path / "new").exists()


def test_a_packed_copy_with_another_bit_is_refused_and_made_again_when_deleted(
    whole, tmp_path, capsys
):
    random = np.random.default_rng(0)
    root = tmp_path / "lab"
    for split in ("train", "validate"):
        frames = random.integers(256, size=(6, 64, 64, 3), dtype=np.uint8)
        actions, positions = (random.normal(size=(6, k)).astype(np.float32) for k in (4, 3))
        write_sequence(root / split / "s" / "0", frames, actions, positions)
    out = tmp_path / "lab-run"
    config = whole.config
    start(config, root, out, CPU)._save_last()
    (copy,) = (path for path in (root / ".foreframe").iterdir() if path.name.startswith("train"))
    frames = copy / "frames.bin"
    stat, content = frames.stat(), bytearray(frames.read_bytes())
    content[1234] ^= 16
    frames.write_bytes(content)
    words = ["train", f"{out}/run.json", "--data", f"{root}", "--out", f"{out}", "--resume"]
    with pytest.raises(SystemExit) as end:
        main([*words, "--device", "cpu"])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert "frames.bin: not what was written, SHA-256 differs" in said
    assert "Delete this folder, and it is made again" in said
    assert stat.st_size == frames.stat().st_size
    shutil.rmtree(copy)
    assert start(config, root, out, RESUME).progress.epoch == 0
    # A picture that changed is made a new copy of, and is other data.
    last = list_sequences(root, "train")[0]
    shutil.copy(last / "0.png", last / "1.png")
    with pytest.raises(ForeframeError, match=r"train has the same numbers .* other contents"):
        start(config, root, out, RESUME)


def test_other_settings_are_refused_from_python_too(whole, tmp_path):
    run = whole.copied(whole.saves[0], tmp_path / "run")
    before = (run / LAST).read_bytes()
    other = replace(whole.config, train=replace(whole.config.train, seed=7))
    with pytest.raises(ForeframeError, match=r"keeps its settings: train\.seed is"):
        start(other, whole.data, run, replace(CPU, resume=True))
    assert (run / LAST).read_bytes() == before


@pytest.mark.parametrize("lost", [True, False])
def test_a_run_without_its_last_checkpoint_is_not_begun_anew_over_the_rest(whole, tmp_path, lost):
    run = whole.copied(whole.run, tmp_path / "run")
    (run / LAST).unlink()
    if lost:
        for name in (LAST_PREVIOUS, LAST_GOOD):
            (run / name).unlink()
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    words = "no other checkpoint" if lost else r"last-(previous|good)\.safetensors, which is sound"
    with pytest.raises(ForeframeError, match=rf"last\.safetensors: is gone, but .*{words}"):
        start(whole.config, whole.data, run, RESUME)
    assert before == {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}


def test_a_run_ended_before_its_first_save_begins_from_the_weights_it_was_to(whole, tmp_path):
    run = tmp_path / "run"
    begun = start(whole.config, whole.data, run, replace(CPU, init_from=whole.run))
    kinematics = (run / KINEMATICS).read_bytes()
    (run / KINEMATICS).unlink()  # as if the kill had come before it was written
    heard = Heard()
    again = start(whole.config, whole.data, run, RESUME, listener=heard)
    assert any("begins from its first step" in message for message in heard.messages)
    assert (run / KINEMATICS).read_bytes() == kinematics
    ours, theirs = again.model.state_dict(), begun.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    untaught = start(whole.config, whole.data, tmp_path / "other", CPU).model.state_dict()
    assert not all(torch.equal(ours[name], untaught[name]) for name in untaught)


def test_a_mended_best_stays_known_as_one(whole, tmp_path):
    """Mended and killed, and gone on with again: a later better epoch takes its place."""
    run = whole.copied(whole.saves[-2], tmp_path / "run")
    tensors, metadata = read_tensors(run / LAST)
    progress = json.loads(metadata["progress"])
    progress["best_psnr"] = progress["history"][0]["validation_psnr"] = 99.0
    write_tensors(run / LAST, tensors, {**metadata, "progress": json.dumps(progress)})
    (run / BEST).unlink()
    start(whole.config, whole.data, run, RESUME)
    again = start(whole.config, whole.data, run, RESUME)
    assert again.progress.best_psnr is None or again.progress.best_psnr < 99
    stand_in = (run / BEST).read_bytes()
    history = again.fit()
    assert again.progress.best_psnr == history[-1]["validation_psnr"]
    assert (run / BEST).read_bytes() != stand_in


def test_what_follows_from_a_checkpoint_is_written_after_a_kill_between_the_two(whole, tmp_path):
    run = whole.copied(whole.run, tmp_path / "run")
    history = json.loads((run / HISTORY).read_text())
    (run / HISTORY).write_text(json.dumps(history[:-1]))
    shutil.copy(run / LAST_PREVIOUS, run / LAST_GOOD)
    start(whole.config, whole.data, run, RESUME)
    assert json.loads((run / HISTORY).read_text()) == history
    assert read_tensors(run / LAST_GOOD)[1] == read_tensors(run / LAST)[1]


@pytest.mark.parametrize("said", ["{", "[]", "null", "3", "[" * 100_000])
def test_a_checkpoint_that_says_nothing_of_its_run_is_refused(run, whole, said):
    tensors, metadata = read_tensors(run / LAST)
    write_tensors(run / LAST, tensors, {**metadata, "run": said})
    with pytest.raises(ForeframeError, match="what it says of its run cannot be read"):
        start(whole.config, whole.data, run, RESUME)
