"""Damaged files are refused in words, or hold exactly what was written; none is a traceback."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from foreframe.commands.app import main
from foreframe.config.training import RunConfig
from foreframe.data.store.meta import META
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.runs.folder import BEST, LAST, LAST_GOOD, LAST_PREVIOUS, saved_config
from foreframe.runs.hub import VideoCVAE
from foreframe.runs.sealed import SEAL
from foreframe.runs.shipped import write_half
from foreframe.runs.weights import read_tensors, write_tensors
from foreframe.training.checkpoint import Checkpoint
from foreframe.training.options import TrainOptions
from foreframe.training.progress import Progress, read_progress
from foreframe.training.start import start
from tests.faults.damage import KINDS, damaged, mutated

Value = TypeVar("Value")


def tried(read: Callable[[], Value]) -> tuple[str, None] | tuple[None, Value]:
    """What a user is told, or else what was read; any other error is a fault."""
    try:
        return None, read()
    except ForeframeError as error:
        return str(error), None


RESUME = TrainOptions(device="cpu", threads=1, resume=True)


def held(path: Path):
    tensors, metadata = read_tensors(path)
    return metadata, {name: (x.dtype, x.numpy().tobytes()) for name, x in tensors.items()}


# -- weights ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [LAST, BEST])
def test_of_200_damages_none_is_taken_for_other_weights(whole, tmp_path, name):
    content, expected = (whole.run / name).read_bytes(), held(whole.run / name)
    path = tmp_path / name
    refused = dict.fromkeys(KINDS, 0)
    for number in range(200):
        kind, spoilt = damaged(content, number)
        path.write_bytes(spoilt)
        refusal, taken = tried(lambda: held(path))
        if refusal is None:
            assert taken == expected, (kind, number)
        else:
            assert str(path) in refusal
            refused[kind] += 1
    assert sum(refused.values()) >= 195, refused


def test_a_damaged_checkpoint_ends_the_command_with_status_2_and_names_the_sound_one(
    whole, tmp_path, capsys
):
    run = whole.copied(whole.run, tmp_path / "run")
    content = bytearray((run / LAST).read_bytes())
    content[-1000] ^= 4
    (run / LAST).write_bytes(content)
    words = ["train", str(run / "run.json"), "--data", str(whole.data), "--out", str(run)]
    with pytest.raises(SystemExit) as end:
        main([*words, "--resume"])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert "last.safetensors: it is damaged" in said
    assert "last-good.safetensors, which is sound (it stands at step 0 of epoch 3)" in said
    shutil.copy(run / LAST_GOOD, run / LAST)
    assert start(whole.config, whole.data, run, RESUME).progress.epoch == 2


def test_a_damaged_checkpoint_without_a_sound_one_says_so(whole, tmp_path):
    run = whole.copied(whole.run, tmp_path / "run")
    for name in (LAST, LAST_PREVIOUS, LAST_GOOD):
        (run / name).write_bytes((run / name).read_bytes()[:-1])
    with pytest.raises(ForeframeError, match="no other checkpoint that is sound"):
        Checkpoint.read(run)


@pytest.mark.parametrize("gone", [False, True])
def test_best_weights_that_are_lost_are_written_anew_by_a_resume(whole, tmp_path, gone):
    run = whole.copied(whole.run, tmp_path / "run")
    (run / BEST).unlink() if gone else (run / BEST).write_bytes(b"x" * 100)
    training = start(whole.config, whole.data, run, RESUME)
    saved, model = VideoCVAE.from_pretrained(run).state_dict(), training.judged.state_dict()
    assert all(torch.equal(saved[name], model[name]) for name in saved)
    assert training.progress.best_psnr == training.progress.history[-1]["validation_psnr"]


def seal_of(path: Path) -> str:
    with safe_open(path, framework="pt") as file:
        return file.metadata()[SEAL]


def test_every_weights_file_that_is_written_is_sealed(whole, tmp_path):
    VideoCVAE.from_pretrained(whole.run).save_pretrained(tmp_path / "pretrained")
    write_half(whole.run, tmp_path / "half")
    files = [
        *(whole.run / name for name in (LAST, LAST_PREVIOUS, LAST_GOOD, BEST)),
        tmp_path / "pretrained" / BEST,
        tmp_path / "half" / BEST,
    ]
    for path in files:
        assert len(seal_of(path).partition(" ")[2]) == 64, path


def test_a_seal_that_lost_its_name_is_not_taken_for_a_file_without(whole, tmp_path):
    content, seal = (whole.run / BEST).read_bytes(), seal_of(whole.run / BEST).encode()
    name = f'"{SEAL}":'.encode()
    other = seal[:-1] + (b"1" if seal.endswith(b"0") else b"0")
    for part, spoilt in ((name, name.replace(b"fore", b"fare")), (seal, other)):
        assert content.count(part) == 1
        (tmp_path / BEST).write_bytes(content.replace(part, spoilt))
        with pytest.raises(ForeframeError, match="damaged"):
            read_tensors(tmp_path / BEST)


def test_the_same_weights_are_the_same_bytes(tmp_path):
    """Their file is what scores are told apart by."""
    for n in range(8):
        write_tensors(tmp_path / f"{n}.safetensors", {"b": torch.ones(2), "a": torch.zeros(3)})
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_weights_without_a_seal_load_with_a_word(tmp_path, caplog):
    save_file({"x": torch.arange(3)}, tmp_path / "theirs.safetensors", {"format": "pt"})
    said: list[str] = []
    tensors, metadata = read_tensors(tmp_path / "theirs.safetensors", said.append)
    assert tensors["x"].tolist() == [0, 1, 2]
    assert metadata == {"format": "pt"}
    assert ["has no checksum" in line for line in said] == [True]
    with caplog.at_level("INFO", "foreframe"):
        for _ in range(3):
            read_tensors(tmp_path / "theirs.safetensors")
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(3.0),
        torch.zeros(0, 4),
        torch.tensor([True, False]),
        torch.randn(3, 5).bfloat16(),
        torch.randn(4, 6).T,
    ],
    ids=["scalar", "empty", "bool", "bf16", "transposed"],
)
def test_tensors_of_every_kind_are_sealed(tmp_path, tensor):
    write_tensors(tmp_path / "x.safetensors", {"x": tensor}, {"a": "ö\0\n"})
    tensors, metadata = read_tensors(tmp_path / "x.safetensors")
    assert torch.equal(tensors["x"], tensor)
    assert metadata == {"a": "ö\0\n"}


# -- progress -----------------------------------------------------------------------------------


def good_progress(whole) -> dict:
    return json.loads(Checkpoint.read(whole.run).progress)


CHANGES = {
    "step beyond the epoch": {"epoch": 1, "step": 3, "history": 1},
    "a step after the last epoch": {"step": 1},
    "negative step": {"epoch": 1, "step": -1, "history": 1},
    "epoch beyond the run": {"epoch": 3},
    "negative epoch": {"epoch": -1},
    "text for a step": {"step": "two"},
    "half a step": {"step": 0.5},
    "a truth for a step": {"step": True},
    "null for an epoch": {"epoch": None},
    "a huge epoch": {"epoch": 10**400},
    "two totals": {"totals": [0.0, 0.0]},
    "text in the totals": {"totals": [0.0, 0.0, "0"]},
    "infinite totals": {"totals": [0.0, float("inf"), 0.0]},
    "totals before the first step": {"totals": [1.0, 1.0, 1.0]},
    "negative seconds": {"seconds": -1.0},
    "seconds that are none": {"seconds": float("nan")},
    "text for the best": {"best_psnr": "good"},
    "a best that none had": {"best_psnr": 99.0},
    "no history": {"history": []},
    "a number for the history": {"history": 2},
    "rows that are numbers": {"history": [1, 2]},
    "empty rows": {"history": [{}, {}]},
    "an unknown entry": {"mood": "good"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_progress_that_cannot_be_true_is_refused(whole, change):
    values = good_progress(whole)
    for key, value in CHANGES[change].items():
        values[key] = values["history"][:1] if (key, value) == ("history", 1) else value
    where = whole.run / LAST
    with pytest.raises(ForeframeError, match=r"last\.safetensors: .*progress"):
        read_progress(json.dumps(values), whole.config.train, where)


@pytest.mark.parametrize(
    "row",
    [
        {"epoch": 1},
        {"validation_psnr": None},
        {"mse": "0.1"},
        {"kld": float("nan")},
        {"loss": 10**30 * 10**300},
        {"beta": True},
    ],
    ids=str,
)
def test_a_history_that_does_not_fit_is_refused(whole, row):
    values = good_progress(whole)
    values["history"][0] |= row
    with pytest.raises(ForeframeError, match="row 0 of the history"):
        read_progress(json.dumps(values), whole.config.train, whole.run / LAST)


@pytest.mark.parametrize("text", ["", "[]", "3", "null", "{", '{"epoch": ', "[" * 100_000])
def test_progress_that_is_none_is_refused(whole, text):
    with pytest.raises(ForeframeError, match="no progress to resume from"):
        read_progress(text, whole.config.train, whole.run / LAST)


def test_progress_in_the_middle_of_an_epoch_is_read_as_it_was_written(whole):
    stood = Checkpoint.read(whole.saves[-2])
    progress = read_progress(stood.progress, whole.config.train, stood.path)
    assert (progress.epoch, progress.step, len(progress.history)) == (1, 2, 1)
    assert json.loads(stood.progress) == asdict(progress)
    assert isinstance(progress, Progress)


@pytest.mark.parametrize("change", ["gone", "shape", "count", "unknown"])
def test_moments_that_are_not_whole_are_refused(whole, tmp_path, change):
    run = whole.copied(whole.run, tmp_path / "run")
    tensors, metadata = read_tensors(run / LAST)
    name = next(key for key in tensors if key.startswith("optimizer.exp_avg."))
    other = name.removeprefix("optimizer.exp_avg.")
    if change == "gone":
        del tensors[name]
    elif change == "shape":
        tensors[name] = torch.zeros(2, 3, 4)
    elif change == "count":
        tensors[f"optimizer.step.{other}"] = torch.tensor(1e6)
    else:
        tensors["optimizer.mood.x"] = torch.zeros(1)
    write_tensors(run / LAST, tensors, metadata)
    with pytest.raises(ForeframeError, match="another configuration, or was changed"):
        start(whole.config, whole.data, run, RESUME)


# -- JSON: run.json, meta.json, progress ----------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_mutated_settings_are_refused_or_settings(whole, tmp_path, seed):
    text = (whole.run / "run.json").read_text()
    for number in range(100):
        (tmp_path / "run.json").write_bytes(mutated(text, 1000 * seed + number))
        refusal, config = tried(lambda: saved_config(tmp_path))
        assert "run.json" in refusal if refusal else isinstance(config, RunConfig)


def frames_of(folder: Path) -> bytes:
    """The frames of a store that a training takes."""
    store = Store(folder)
    store.require_sound()
    store.statistics()
    return b"".join(recording.frames.tobytes() for recording in store)


@pytest.mark.parametrize("split", ["train", "test"])
def test_mutated_metadata_of_a_store_are_refused_or_a_store(whole, tmp_path, split):
    folder = Path(shutil.copytree(whole.data / split, tmp_path / split))
    text = (folder / META).read_text()
    expected = frames_of(folder)
    for number in range(200):
        (folder / META).write_bytes(mutated(text, number))
        refusal, frames = tried(lambda: frames_of(folder))
        assert str(folder) in refusal if refusal else frames == expected, number


def test_mutated_progress_is_refused_or_progress(whole):
    text = Checkpoint.read(whole.run).progress
    for number in range(300):
        spoilt = mutated(text, number).decode("utf-8", "replace")
        read = partial(read_progress, spoilt, whole.config.train, whole.run / LAST)
        refusal, progress = tried(read)
        if refusal is None:
            assert 0 <= progress.epoch <= 2
            assert len(progress.history) == progress.epoch
