"""A dataset made again: one view, several side by side, slower, smaller; nothing changes split."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from foreframe.commands.app import main
from foreframe.data.imports.importing import ImportOptions, import_dataset
from foreframe.data.sources.listing import tree
from foreframe.data.sources.recognise import suggestion
from foreframe.data.sources.source import Part, RawRecording, Source
from foreframe.data.sources.stores import StoreSource
from foreframe.data.store.opened import open_stores
from foreframe.errors import ForeframeError
from foreframe.runs.hub import VideoCVAE
from foreframe.system.workers import Execution

VIEWS = {"top": 100, "wrist": 200}


def quiet(text):
    pass


@dataclass(frozen=True)
class TwoCameras(Source):
    """Frame t of recording i has pixels (i, t, the camera's number), in a part a camera."""

    input: Path
    lacking: tuple[str, ...] = ()

    def parts(self):
        return [Part(f"part-{view}", self.input, select={"view": view}) for view in VIEWS]

    def lengths(self, part):
        return [(f"demo/{i}", 12) for i in range(12)]

    def read(self, part):
        view = part.select["view"]
        for i in range(12):
            if f"{i}:{view}" in self.lacking:
                continue
            frames = np.zeros((12, 48, 48, 3), np.uint8)
            frames[..., 0], frames[..., 2] = i, VIEWS[view]
            frames[..., 1] = np.arange(12)[:, None, None]
            t = np.arange(12, dtype=np.float32)
            rows = np.stack([t * 0 + i, t], 1)
            yield RawRecording(
                f"demo/{i}", frames, rows, -rows, view=view, times=t / 10.0, task=f"lift {i}"
            )


def made(folder, options=None, **settings):
    folder.mkdir(exist_ok=True)
    source = TwoCameras(folder, **settings)
    import_dataset(
        source,
        folder / "two",
        options or ImportOptions(),
        execution=Execution(workers=1),
        log=quiet,
    )
    return folder / "two"


def again(root, out, options=None, **settings):
    return import_dataset(
        StoreSource(root, **settings),
        out,
        options or ImportOptions(width=128),
        execution=Execution(workers=1),
        log=quiet,
    )


def content(out):
    """Of each recording its split and its numbers, as its frames say them."""
    found = {}
    for split, store in open_stores(out).items():
        for k, name in enumerate(store.names):
            recording = store[k]
            found[name] = (split, recording, store.recordings[k], store.tasks[k])
    return found


def test_two_views_become_one_wide_frame(tmp_path):
    root, out = made(tmp_path), tmp_path / "wide"
    done = again(root, out, views="wrist,top")
    before, after = content(root), content(out)
    assert sorted(after) == sorted(f"demo/{i}" for i in range(12))
    assert done.skipped == ()
    for name, (split, recording, of, task) in after.items():
        number = int(name.split("/")[1])
        assert (of, task) == (name, f"lift {number}")
        assert split == before[f"{name}:top"][0] == before[f"{name}:wrist"][0]
        assert recording.frames.shape == (12, 64, 128, 3)
        left, right = recording.frames[:, :, :64], recording.frames[:, :, 64:]
        assert (left == before[f"{name}:wrist"][1].frames).all()
        assert (right == before[f"{name}:top"][1].frames).all()
        assert (recording.actions[:, 0] == number).all()
        assert (recording.positions == -recording.actions).all()
    assert open_stores(out)["train"].frame_rate == pytest.approx(10)


def test_one_view_is_taken_as_it_is(tmp_path):
    root, out = made(tmp_path), tmp_path / "top"
    again(root, out, ImportOptions(), views="top")
    before, after = content(root), content(out)
    assert len(after) == 12
    for name, (_, recording, *_) in after.items():
        assert (recording.frames == before[f"{name}:top"][1].frames).all()


def test_clips_stay_clips_of_their_recording(tmp_path):
    root, out = made(tmp_path, ImportOptions(clip_frames=4)), tmp_path / "wide"
    again(root, out, views="top,wrist")
    after = content(out)
    assert len(after) == 36
    for name, (_, recording, of, _) in after.items():
        demo, _, first = name.partition("@")
        assert of == demo
        assert recording.frames[0, 0, 0, 1] == recording.frames[0, 0, 64, 1] == int(first)
        assert recording.actions[0, 1] == int(first)


def test_clips_are_taken_in_once_and_keep_their_views(tmp_path):
    root, out = made(tmp_path, ImportOptions(clip_frames=4)), tmp_path / "again"
    again(root, out, ImportOptions())
    before = content(out)
    assert len(before) == 72
    import_dataset(StoreSource(root), out, execution=Execution(workers=1), append=True, log=quiet)
    assert content(out).keys() == before.keys()
    again(out, tmp_path / "wide", views="top,wrist")
    assert len(content(tmp_path / "wide")) == 36


def test_without_views_it_is_made_again_slower(tmp_path):
    root, out = made(tmp_path), tmp_path / "slow"
    again(root, out, ImportOptions(size=32, frame_rate=5, resample_actions="last"))
    before, after = content(root), content(out)
    assert after.keys() == before.keys()
    for name, (split, recording, of, task) in after.items():
        assert (split, of, task) == (before[name][0], before[name][2], before[name][3])
        assert recording.frames[:, 0, 0, 1].tolist() == [0, 2, 4, 6, 8, 10]
        assert recording.actions[:, 1].tolist() == [1, 3, 5, 7, 9, 11]
    assert open_stores(out)["train"].frame_rate == pytest.approx(5)


def test_a_recording_that_lacks_a_view_is_named(tmp_path):
    root, out = made(tmp_path, lacking=("3:wrist",)), tmp_path / "wide"
    done = again(root, out, views="top,wrist")
    assert [(skip.name, skip.reason) for skip in done.skipped] == [
        ("demo/3", "it has no view wrist")
    ]
    assert len(content(out)) == 11


@pytest.mark.parametrize(
    ("views", "said"),
    [
        ("top,left", "there is no view left; there are top, wrist"),
        ("top,top", "give each view once"),
        ("top,", "give each view once"),
    ],
)
def test_views_that_are_not_there_are_refused(tmp_path, views, said):
    root = made(tmp_path)
    with pytest.raises(ForeframeError, match=said):
        again(root, tmp_path / "wide", views=views)
    assert not (tmp_path / "wide").exists()


def test_it_is_listed_and_suggested(tmp_path):
    root = made(tmp_path)
    lines = tree(StoreSource(root).listing())
    assert any("train: 10 recordings, 20 sequences (12 to 12 frames)" in line for line in lines)
    assert any(line.endswith("── wrist") for line in lines)
    assert f"foreframe import store {root} OUT" in suggestion(root)


def test_a_wide_dataset_is_checked_trained_on_and_predicted(tmp_path, capsys):
    root, out, run = made(tmp_path), tmp_path / "wide", tmp_path / "run"
    again(root, out, views="top,wrist")
    main(["check", str(out), "--out", str(tmp_path / "check")])
    said = " ".join(capsys.readouterr().out.split())
    assert "--net vgg64x128" in said
    words = "--net dcgan64x128 --width 0.05 --g-dim 8 --z-dim 2 --rnn-size 8 --epochs 1"
    words += " --steps-per-epoch 2 --batch-size 2 --n-future 4 --action-dim 2 --position-dim 2"
    main(["train", "svg-small", "--data", str(out), "--out", str(run), *words.split()])
    main(["evaluate", str(run), "--data", str(out), "--n-future", "4"])
    main(["predict", str(run), "--sequence", str(out / "test" / "0"), "--n-future", "4"])
    model = VideoCVAE.from_pretrained(run)
    assert model.config.frame_size == (64, 128)
    futures = model.generate(torch.rand(1, 2, 3, 64, 128), torch.zeros(1, 6, 2), n_samples=2)
    assert futures.shape == (1, 2, 4, 3, 64, 128)
    with pytest.raises(ForeframeError, match="3 channels of 128x64 pixels"):
        model.generate(torch.rand(1, 2, 3, 64, 64), torch.zeros(1, 6, 2))
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(
            [
                "train",
                "svg-small",
                "--data",
                str(root),
                "--out",
                str(tmp_path / "no"),
                *words.split(),
            ]
        )
    said = " ".join(capsys.readouterr().err.split())
    assert "a store of 64x64 pixels, but the net takes 128x64" in said
    assert "--size 64 --width 128" in said
