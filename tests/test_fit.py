"""foreframe.fit: a model from plain arrays, and futures that show themselves."""

import io
import json
import os
import pickle
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import foreframe
from foreframe import ForeframeError, Futures, ModelConfig, VideoCVAE
from foreframe.commands.app import main
from foreframe.data.store.store import Store
from foreframe.runs.folder import saved_config
from foreframe.training.loop import Training

SHORT = {"epochs": 2, "steps_per_epoch": 2, "batch_size": 2, "n_future": 4, "device": "cpu"}
TINY = {**SHORT, "width": 0.25, "g_dim": 16, "z_dim": 64, "rnn_size": 8}
"""Settings that make the usual recipe tiny."""
SVG = {"width": 0.125, "g_dim": 16, "z_dim": 4, "rnn_size": 16}
TINY_SVG = {
    **SHORT,
    **SVG,
    "recipe": "svg-small",
    "kl_schedule": "constant",
    "teacher_forcing": "always",
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def arrays(recordings=5, length=8, size=64):
    random = np.random.default_rng(0)
    frames = random.integers(0, 255, (recordings, length, size, size, 3), np.uint8)
    return frames, random.normal(size=(recordings, length, 2))


def test_five_lines_from_arrays_to_a_gif(here):
    frames, actions = arrays()
    model = foreframe.fit(frames, actions, **TINY)
    futures = model.generate(frames[0, :2], actions[0], n_samples=3)
    futures.gif("out.gif")
    assert futures.shape == (3, 6, 3, 64, 64)
    with Image.open("out.gif") as gif:
        assert gif.n_frames == 8


def test_the_run_is_one_like_any_other(here, capsys):
    frames, actions = arrays()
    model = foreframe.fit(frames, actions, out="run", **TINY)
    assert "run: best validation PSNR" in capsys.readouterr().out
    loaded = VideoCVAE.from_pretrained("run")
    assert all(
        torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items()
    )
    assert saved_config(Path("run")).recipe == "foreframe-s"
    assert model.config.action_dim == 2
    words = ["--data", "run-data", "--split", "validate", "--n-future", "4", "--device", "cpu"]
    main(["evaluate", "run", *words])
    assert json.loads(Path("run/evaluation.json").read_text())


def test_lists_tensors_and_channels_first_train_the_same_model(here):
    frames, actions = arrays()
    positions = np.cumsum(actions, 1)[..., :1]
    models = [
        foreframe.fit(*given, out=f"run{n}", condition="both", precision="fp32", **TINY)
        for n, given in enumerate(
            [
                (frames, actions, positions),
                (list(frames), list(actions), list(positions)),
                (torch.tensor(frames).movedim(-1, 2), torch.tensor(actions), positions.tolist()),
            ]
        )
    ]
    for other in models[1:]:
        for name, value in models[0].state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), name


def test_recordings_of_unequal_length_and_any_size(here):
    frames = [np.full((length, 48, 80, 3), 9, np.uint8) for length in (8, 7, 9, 12)]
    foreframe.fit(frames, condition="none", out="run", **TINY_SVG)
    stores = [Store(Path("run-data") / split) for split in ("train", "validate")]
    assert sorted(length for store in stores for length in store.lengths) == [7, 8, 9, 12]
    assert all(store.size == (64, 64) for store in stores)


def test_one_long_recording_is_divided_by_time(here):
    frames, actions = arrays(recordings=1, length=40)
    foreframe.fit(frames, actions, out="run", **TINY)
    train, validate = (Store(Path("run-data") / split) for split in ("train", "validate"))
    assert train.lengths.tolist() == [28]
    assert validate.lengths.tolist() == [12]
    np.testing.assert_array_equal(validate[0].frames, frames[0, 28:])


def test_runs_without_a_name_get_one_that_is_free(here):
    frames, actions = arrays()
    for _ in range(2):
        foreframe.fit(frames, actions, log=lambda line: None, **TINY)
    assert {path.name for path in Path("runs").iterdir()} == {
        "fit", "fit-data", "fit-2", "fit-2-data",
    }  # fmt: skip


def test_an_interrupted_fit_says_how_to_go_on_and_that_works(here, monkeypatch):
    frames, actions = arrays()
    original = Training.step

    def step(training, clip, global_step):
        os.kill(os.getpid(), signal.SIGINT)
        return original(training, clip, global_step)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", step)
        with pytest.raises(KeyboardInterrupt, match="stopped and saved; go on with") as stop:
            foreframe.fit(frames, actions, out="run", **TINY)
    words = str(stop.value).partition("foreframe ")[2].split()
    main([*words, "--device", "cpu"])
    assert len(json.loads(Path("run/history.json").read_text())) == TINY["epochs"]


FRAMES, ACTIONS = arrays()


@pytest.mark.parametrize(
    ("given", "more", "words"),
    [
        ((FRAMES[0], ACTIONS), {}, r"frames: has shape \[8, 64, 64, 3\]; give \[N, T, H, W, 3\]"),
        ((FRAMES / 255, ACTIONS), {}, r"frames\[0\]: is of float64; give uint8"),
        (([], ACTIONS), {}, "frames: there is no recording"),
        (("text", ACTIONS), {}, "frames: "),
        ((FRAMES, ACTIONS[:4]), {}, "actions: 4 recordings, but frames has 5"),
        ((FRAMES, ACTIONS[:, :7]), {}, r"actions\[0\]: has shape \[7, 2\]; give \[8, numbers\]"),
        ((FRAMES, ACTIONS * np.nan), {}, r"actions\[0\]: .*not a finite number"),
        ((FRAMES, [["a"] * 8] * 5), {}, r"actions\[0\]: has shape \[8\]"),
        (
            (FRAMES,),
            {},
            'conditioned on actions, and none were given.*recipe="svg-small", condition="none"',
        ),
        ((FRAMES, ACTIONS), {"net": "dcgan64"}, "only --net places64 has .*recipe svg-small"),
        ((FRAMES, ACTIONS), {"n_past": 1}, "--n-past 1: must be at least 2"),
        ((FRAMES, ACTIONS), {"condition": "both"}, "conditioned on positions, and none"),
        ((FRAMES, ACTIONS), {"epoch": 3}, "epoch: unknown setting. Did you mean epochs"),
        ((FRAMES, ACTIONS), {"epochs": "3"}, "fit: .*epochs"),
        ((FRAMES, ACTIONS), {"epochs": 0}, "--epochs 0: must be at least 1"),
        ((FRAMES, ACTIONS), {"recipe": "foreframe"}, "unknown recipe"),
        ((FRAMES, ACTIONS), {"validate": 1.0}, "validate=1.0"),
        ((FRAMES, ACTIONS), {"n_future": 10}, "8 frames, but n_past . n_future = 12"),
        ((FRAMES, ACTIONS), {"out": "."}, ": exists already"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(here, given, more, words):
    with pytest.raises(ForeframeError, match=words) as error:
        foreframe.fit(*given, **{**TINY, **more})
    assert "\n" not in str(error.value)
    assert not [path for path in here.rglob("*") if path.is_file()]


# -- futures ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def futures() -> Futures:
    torch.manual_seed(0)
    model = VideoCVAE(ModelConfig(net="dcgan64", action_dim=2, **SVG))
    return model.generate(FRAMES[:2, :2], ACTIONS[:2, :6], n_samples=3)


def frames_in(path) -> int:
    with Image.open(path) as gif:
        return gif.n_frames


def test_a_gif_begins_with_the_given_frames(futures, tmp_path):
    futures = Futures.of(futures, torch.full((2, 2, 3, 64, 64), 200, dtype=torch.uint8))
    assert frames_in(futures.gif(tmp_path / "a.gif", scale=2)) == 2 + 4
    with Image.open(tmp_path / "a.gif") as gif:
        for t in range(6):
            gif.seek(t)
            picture = np.asarray(gif.convert("RGB")).astype(int)
            shown = (abs(picture - 200) < 12).all(-1).sum() // (2 * 64) ** 2
            assert shown == (6 if t < 2 else 0)  # one for each of 3 futures of 2 recordings


def test_what_is_cut_out_or_computed_shows_itself_too(futures, tmp_path):
    assert frames_in(futures[0].gif(tmp_path / "a.gif")) == 4
    assert frames_in(futures[1, 2].gif(tmp_path / "b.gif")) == 4
    assert frames_in(((futures + 1) / 2).mean(1).gif(tmp_path / "c.gif")) == 4
    with pytest.raises(ForeframeError, match=r"shape \[2, 3, 4\] holds no futures"):
        futures.mean((3, 4, 5)).gif(tmp_path / "d.gif")


def test_futures_are_tensors_to_all_that_takes_tensors(futures):
    plain = futures.as_subclass(torch.Tensor)
    assert isinstance(futures, torch.Tensor)
    assert torch.equal(futures, plain)
    assert torch.equal(torch.stack([futures, plain])[0], plain)
    np.testing.assert_array_equal(futures.numpy(), plain.numpy())
    assert float(((futures - plain) ** 2).mean()) == 0.0
    assert type(pickle.loads(pickle.dumps(futures))) is torch.Tensor
    file = io.BytesIO()
    torch.save({"futures": futures}, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=True)["futures"], plain)


def test_show_opens_the_browser_where_there_is_no_notebook(futures, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    futures.show()
    (address,) = opened
    assert frames_in(Path(address.removeprefix("file://"))) == 6


# -- arrays of a dataset ------------------------------------------------------------------------


def test_arrays_are_every_recording_of_a_split(toy_data, here):
    frames, actions, positions = foreframe.arrays(toy_data, "test")
    assert [one.shape for one in frames] == [(14, 64, 64, 3)] * 3
    assert [one.shape for one in actions] == [(14, 4)] * 3
    assert [one.shape for one in positions] == [(14, 3)] * 3
    frames[0][:] = 0  # their owner may change them
    assert foreframe.arrays(str(toy_data), "test")[0][0].any()
    shutil.copytree(toy_data, here / "bare", ignore=shutil.ignore_patterns("endeff*", ".*"))
    assert foreframe.arrays("bare", "test")[2] is None
