"""Training: what a step does, exact resume, collapse, blow-up, and what is never lost."""

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from foreframe import ForeframeError, ModelConfig, VideoCVAE
from foreframe.config.recipes import RECIPES, recipe
from foreframe.config.schedules import KLSchedule, LearningRate, TeacherForcing
from foreframe.config.training import RunConfig, TrainConfig, check_config
from foreframe.data.store.batches import training_batch
from foreframe.model.cvae import CVAE
from foreframe.runs.folder import LAST, saved_config
from foreframe.runs.hub import load_model
from foreframe.training import checkpoint, threads
from foreframe.training.listener import Interrupted, Listener
from foreframe.training.loop import Training
from foreframe.training.options import TrainOptions
from foreframe.training.start import start
from foreframe.training.validate import Validation

CPU = TrainOptions(device="cpu")
RESUME = TrainOptions(device="cpu", resume=True)
TINY = RunConfig(
    recipe="svg-small",
    model=ModelConfig(net="dcgan64", width=0.125, g_dim=16, z_dim=4, rnn_size=16),
    train=TrainConfig(
        epochs=3,
        steps_per_epoch=4,
        batch_size=3,
        n_future=4,
        kl=KLSchedule("cyclical", beta_max=1e-2, kl_cycles=1),
        forcing=TeacherForcing("linear", teacher_forcing_start=0),
        rate=LearningRate(lr=0.002, lr_schedule="cosine"),
        precision="fp32",
        checkpoint_every=3,
    ),
)


def tensors(run: Path) -> dict[str, torch.Tensor]:
    from foreframe.runs.weights import read_tensors

    return read_tensors(run / LAST)[0]


class StopAfter(Listener):
    """Asks to stop, as Ctrl-C does, once a given number of batches has been made."""

    def __init__(self, monkeypatch, steps: int) -> None:
        original, self.left = Training.step, steps

        def step(training, clip, global_step):
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGINT)
            return original(training, clip, global_step)

        monkeypatch.setattr(Training, "step", step)


@pytest.mark.parametrize(("stop_after", "ema"), [(2, 0.0), (6, 0.0), (6, 0.9)])
def test_a_run_stopped_in_mid_epoch_and_resumed_is_bit_identical(
    toy_data, tmp_path, monkeypatch, stop_after, ema
):
    config = replace(TINY, train=replace(TINY.train, ema=ema))
    whole = start(config, toy_data, tmp_path / "whole", CPU)
    whole_history = whole.fit()
    with monkeypatch.context() as patch:
        stopped = start(config, toy_data, tmp_path / "stopped", CPU)
        StopAfter(patch, stop_after)
        with pytest.raises(Interrupted):
            stopped.fit()
        assert stopped.progress.step == stop_after % 4
    torch.rand(17)  # whatever the global generator did in between must not matter
    resumed = start(config, toy_data, tmp_path / "stopped", RESUME)
    history = resumed.fit()
    a, b = tensors(tmp_path / "whole"), tensors(tmp_path / "stopped")
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []
    for ours, theirs in zip(whole_history, history, strict=True):
        for name in ("loss", "mse", "kld", "validation_psnr", "beta", "teacher_forcing_ratio"):
            assert ours[name] == theirs[name], name


def test_the_average_of_the_weights_is_what_is_validated_and_saved(toy_data, tmp_path):
    config = replace(TINY, train=replace(TINY.train, ema=0.9, epochs=2))
    training = start(config, toy_data, tmp_path / "run", CPU)
    by_hand = {k: v.double() for k, v in training.model.state_dict().items()}
    judged = []
    step, psnr = training.step, Validation.psnr

    def stepped(clip, global_step):
        logs = step(clip, global_step)
        decay = min(0.9, (1 + global_step) / (10 + global_step))
        for name, value in training.model.state_dict().items():
            by_hand[name] = decay * by_hand[name] + (1 - decay) * value.double()
        return logs

    def judge(validation, model):
        judged.append({k: v.clone() for k, v in model.state_dict().items()})
        return psnr(validation, model)

    training.step = stepped
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Validation, "psnr", judge)
        training.fit()
    weight = "frame_predictor.embed.weight"
    torch.testing.assert_close(judged[-1][weight].double(), by_hand[weight], rtol=1e-5, atol=1e-7)
    assert not torch.allclose(judged[-1][weight], training.model.state_dict()[weight], atol=1e-5)
    scores = [row["validation_psnr"] for row in training.progress.history]
    saved = load_model(tmp_path / "run").state_dict()
    best = judged[scores.index(max(scores))]
    assert all(torch.equal(saved[name], best[name]) for name in saved)


def test_the_resume_test_could_fail(toy_data, tmp_path):
    """Another seed ends with other weights: equality above is not trivial."""
    for seed in (0, 1):
        config = replace(TINY, train=replace(TINY.train, seed=seed, epochs=2))
        start(config, toy_data, tmp_path / str(seed), CPU).fit()
    a, b = tensors(tmp_path / "0"), tensors(tmp_path / "1")
    assert not torch.equal(a["model.posterior.mu.weight"], b["model.posterior.mu.weight"])


def test_a_finished_run_resumes_to_nothing(toy_data, tmp_path):
    start(TINY, toy_data, tmp_path / "run", CPU).fit()
    before = (tmp_path / "run" / LAST).stat().st_mtime_ns
    history = start(TINY, toy_data, tmp_path / "run", RESUME).fit()
    assert len(history) == 3
    assert (tmp_path / "run" / LAST).stat().st_mtime_ns == before


def test_training_learns(toy_data, tmp_path):
    config = replace(
        TINY,
        train=replace(
            TINY.train,
            epochs=6,
            steps_per_epoch=20,
            kl=KLSchedule(beta_max=1e-4),
            forcing=TeacherForcing("always"),
        ),
    )
    history = start(config, toy_data, tmp_path / "run", CPU).fit()
    assert history[-1]["mse"] < 0.35 * history[0]["mse"]
    assert history[-1]["validation_psnr"] > history[0]["validation_psnr"] + 2


def test_a_run_folder_holds_everything_and_loads(toy_data, tmp_path):
    run = tmp_path / "run"
    training = start(TINY, toy_data, run, CPU)
    history = training.fit()
    names = {path.name for path in run.iterdir()}
    assert names >= {
        "run.json",
        "config.json",
        "model.safetensors",
        LAST,
        "history.json",
        "tensorboard",
        "samples",
    }
    assert not [name for name in names if name.endswith(".part")]
    assert json.loads((run / "history.json").read_text()) == history
    assert saved_config(run) == training.config
    assert (run / "samples" / "epoch-003.gif").exists()
    model = VideoCVAE.from_pretrained(run)
    assert model.config == TINY.model
    assert not model.training


def test_the_history_follows_the_schedules(toy_data, tmp_path):
    history = start(TINY, toy_data, tmp_path / "run", CPU).fit()
    assert [row["teacher_forcing_ratio"] for row in history] == pytest.approx([1, 0.5, 0])
    assert [row["beta"] for row in history] == pytest.approx([0, 0.01 * 2 / 3, 0.01])
    rate = LearningRate(lr=0.002, lr_schedule="cosine")
    from foreframe.config.schedules import learning_rate

    assert [row["lr"] for row in history] == pytest.approx(
        [learning_rate(step, rate, 12) for step in (3, 7, 11)]
    )
    for row in history:
        assert row["loss"] == pytest.approx(row["mse"] + _mean_beta(row) * row["kld"], rel=1e-4)


def _mean_beta(row) -> float:
    return row["beta"]  # constant within an epoch


def test_the_best_weights_are_those_of_the_best_validation(toy_data, tmp_path):
    run = tmp_path / "run"
    training = start(TINY, toy_data, run, CPU)
    history = training.fit()
    assert training.progress.best_psnr == max(row["validation_psnr"] for row in history)
    training.model.load_state_dict(load_model(run).state_dict())
    assert training.validation.psnr(training.model) == pytest.approx(
        training.progress.best_psnr, abs=1e-6
    )


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good(toy_data, tmp_path, monkeypatch):
    run = tmp_path / "run"
    training = start(TINY, toy_data, run, CPU)
    original = Training.step

    def poisoned(self, clip, global_step):
        values = original(self, clip, global_step)
        if global_step == 5:
            with torch.no_grad():
                self.model.posterior.mu.weight.fill_(float("nan"))
            return values * float("nan")
        return values

    monkeypatch.setattr(Training, "step", poisoned)
    with pytest.raises(ForeframeError, match=r"not finite in epoch 2.*last\.safetensors"):
        training.fit()
    saved = tensors(run)
    assert all(torch.isfinite(value).all() for value in saved.values())


def test_ruined_weights_never_replace_the_last_good_checkpoint(toy_data, tmp_path, monkeypatch):
    """The loss of the step that ruins the weights is finite: a checkpoint right after it is not."""
    run = tmp_path / "run"
    training = start(TINY, toy_data, run, CPU)
    original = Training.step

    def ruined(self, clip, global_step):
        values = original(self, clip, global_step)
        if global_step == 6:  # a checkpoint follows: checkpoint_every is 3
            with torch.no_grad():
                self.model.posterior.mu.weight.fill_(float("inf"))
        return values

    monkeypatch.setattr(Training, "step", ruined)
    with pytest.raises(ForeframeError, match="not finite"):
        training.fit()
    assert all(torch.isfinite(value).all() for value in tensors(run).values())


class Heard(Listener):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)


@pytest.mark.parametrize("stop", [False, True])
def test_a_collapse_warns_keeps_the_last_good_and_stops_only_when_asked(
    toy_data, tmp_path, monkeypatch, stop
):
    run = tmp_path / "run"
    config = replace(TINY, train=replace(TINY.train, epochs=6))
    heard = Heard()
    options = TrainOptions(device="cpu", stop_on_collapse=stop)
    training = start(config, toy_data, run, options, listener=heard)
    values = iter([20.0, 21.0, 14.0, 14.0, 14.0, 14.0])
    monkeypatch.setattr(Validation, "psnr", lambda self, model: next(values))
    if stop:
        with pytest.raises(ForeframeError, match="collapsed"):
            training.fit()
        assert len(training.progress.history) == 5
    else:
        assert len(training.fit()) == 6
        assert sum("collapsed" in text for text in heard.messages) == 1
    assert (run / "samples" / "collapse-epoch-005.gif").exists()
    from foreframe.runs.weights import read_tensors

    _, metadata = read_tensors(run / "last-good.safetensors")
    assert json.loads(metadata["progress"])["epoch"] == 2


def test_two_bad_validations_are_no_collapse(toy_data, tmp_path, monkeypatch):
    heard = Heard()
    config = replace(TINY, train=replace(TINY.train, epochs=6))
    options = TrainOptions(device="cpu", stop_on_collapse=True)
    training = start(config, toy_data, tmp_path / "run", options, listener=heard)
    values = iter([20.0, 13.0, 13.0, 20.0, 13.0, 13.0])
    monkeypatch.setattr(Validation, "psnr", lambda self, model: next(values))
    training.fit()
    assert not any("collapsed" in text for text in heard.messages)


def test_init_from_starts_from_the_other_runs_weights(toy_data, tmp_path):
    start(TINY, toy_data, tmp_path / "first", CPU).fit()
    second = start(
        TINY,
        toy_data,
        tmp_path / "second",
        TrainOptions(device="cpu", init_from=tmp_path / "first"),
    )
    first = load_model(tmp_path / "first").state_dict()
    assert all(torch.equal(first[name], t) for name, t in second.model.state_dict().items())
    other = replace(TINY, model=replace(TINY.model, z_dim=8))
    with pytest.raises(ForeframeError, match="z_dim is 4 there and 8 here"):
        start(
            other,
            toy_data,
            tmp_path / "third",
            TrainOptions(device="cpu", init_from=tmp_path / "first"),
        )
    assert not (tmp_path / "third").exists()


def test_init_from_takes_every_layer_that_fits_data_of_another_width(toy_data, tmp_path):
    from foreframe.data.lab import list_sequences

    start(TINY, toy_data, tmp_path / "first", CPU)
    first = VideoCVAE(TINY.model)
    checkpoint.save_best(tmp_path / "first", first)
    shutil.copytree(toy_data, tmp_path / "wide", ignore=shutil.ignore_patterns(".foreframe"))
    for split in ("train", "validate"):
        for sequence in list_sequences(tmp_path / "wide", split):
            actions = np.loadtxt(sequence / "actions.csv", delimiter=",")
            np.savetxt(sequence / "actions.csv", np.tile(actions, 2)[:, :7], delimiter=",")
    heard = Heard()
    options = TrainOptions(device="cpu", init_from=tmp_path / "first")
    wide = start(TINY, tmp_path / "wide", tmp_path / "second", options, listener=heard)
    assert wide.config.model.action_dim == 7
    new = {"condition_mean", "condition_deviation", "frame_predictor.embed.weight"}
    for name, tensor in wide.model.state_dict().items():
        assert name in new or torch.equal(tensor, first.state_dict()[name]), name
    (said,) = [text for text in heard.messages if "--init-from" in text]
    assert "action_dim is 4 there and 7 here" in said
    assert all(name in said for name in new)


def test_an_existing_run_is_not_overwritten(toy_data, tmp_path):
    run = tmp_path / "run"
    start(TINY, toy_data, run, CPU).fit()
    before = (run / LAST).read_bytes()
    with pytest.raises(ForeframeError, match="--resume"):
        start(TINY, toy_data, run, CPU)
    assert (run / LAST).read_bytes() == before
    with pytest.raises(ForeframeError, match="no run is there"):
        start(TINY, toy_data, tmp_path / "nowhere", RESUME)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("...")
    with pytest.raises(ForeframeError, match="not empty"):
        start(TINY, toy_data, tmp_path / "other", CPU)


def test_a_truncated_checkpoint_is_refused_by_name(toy_data, tmp_path):
    run = tmp_path / "run"
    start(TINY, toy_data, run, CPU).fit()
    whole = (run / LAST).read_bytes()
    (run / LAST).write_bytes(whole[:-100])
    with pytest.raises(ForeframeError, match=r"last\.safetensors.*truncated"):
        start(TINY, toy_data, run, RESUME)


def test_teacher_forcing_is_drawn_with_the_ratio_of_the_epoch(toy_data, tmp_path, monkeypatch):
    seen: list[bool] = []
    original = CVAE.forward

    def spy(self, *args, teacher_forcing, **more):
        seen.append(teacher_forcing)
        return original(self, *args, teacher_forcing=teacher_forcing, **more)

    monkeypatch.setattr(CVAE, "forward", spy)
    start(TINY, toy_data, tmp_path / "run", CPU).fit()
    assert seen[:4] == [True] * 4
    assert seen[8:] == [False] * 4


def test_positions_that_the_data_lack_are_refused(tmp_path, toy_data):
    root = tmp_path / "data"
    shutil.copytree(toy_data, root, ignore=shutil.ignore_patterns(".foreframe"))
    for path in root.rglob("endeffector_positions.csv"):
        path.unlink()
    both = replace(TINY, model=replace(TINY.model, condition="both"))
    with pytest.raises(ForeframeError, match="position"):
        start(both, root, tmp_path / "run", CPU)
    start(TINY, root, tmp_path / "run", CPU)


def test_batches_of_a_step_do_not_depend_on_what_came_before(toy_data, tmp_path):
    training = start(TINY, toy_data, tmp_path / "run", CPU)
    store = training.splits["train"]
    once, again = (
        training_batch(store, n_frames=6, batch_size=3, seed=0, global_step=7) for _ in range(2)
    )
    assert torch.equal(once.frames, again.frames)
    other = training_batch(store, n_frames=6, batch_size=3, seed=0, global_step=8)
    assert not torch.equal(once.frames, other.frames)


# -- recipes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_is_a_run_that_can_be_trained(name):
    config = recipe(name)
    assert config.recipe == name
    check_config(config)


def test_the_labs_recipes_are_the_reports():
    for name, prior, kl in [
        ("lab-fp-cyclical", "fixed", "cyclical"),
        ("lab-fp-monotonic", "fixed", "monotonic"),
        ("lab-lp-cyclical", "learned", "cyclical"),
    ]:
        config = recipe(name)
        model, train = config.model, config.train
        assert (model.net, model.width, model.prior) == ("vgg64", 1.0, prior)
        assert (model.condition, model.timing) == ("both", "target")
        assert (train.epochs, train.steps_per_epoch) == (150, 600)
        assert (train.kl.kl_schedule, train.kl.beta_max) == (kl, 1.0)
        assert (train.kl.kl_cycles, train.kl.kl_ratio) == (3, 0.5)
        assert train.forcing == TeacherForcing("linear", 11, 0.0)
        assert train.rate == LearningRate(0.002)


def test_the_demo_is_free_of_privileged_knowledge():
    model = recipe("demo").model
    assert (model.condition, model.timing) == ("actions", "source")


def test_an_unknown_recipe_lists_the_known_ones():
    with pytest.raises(ForeframeError, match="lab-fp-cyclical"):
        recipe("lab")


# -- threads ------------------------------------------------------------------------------------


@pytest.fixture
def two_threads():
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.mark.parametrize(("busy", "warned"), [(0.0, False), (1.4, True)])
def test_a_training_whose_cores_are_taken_says_so(monkeypatch, two_threads, busy, warned):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
    monkeypatch.setattr(threads, "busy_cores", lambda cores: busy)
    said: list[str] = []
    threads.use_threads(None, said.append)
    assert [("1.4 of 2 cores" in text, "--threads 1" in text) for text in said] == (
        [(True, True)] if warned else []
    )
    threads.use_threads(1, said.append)
    assert torch.get_num_threads() == 1
    assert len(said) == warned, "a single thread waits for no other"


@pytest.mark.skipif(not threads.STAT.exists(), reason="Linux counts the time of each core")
def test_busy_cores_are_counted_from_what_the_system_says(monkeypatch, tmp_path):
    stat = tmp_path / "stat"
    lines = [
        "cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\ncpu1 5 0 0 7 0 0 0 0 0 0\nintr 4\n",
        "cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 20 0 0 0 0 0 0 0 0 0\ncpu1 15 0 0 12 5 0 0 0 0 0\nintr 4\n",
    ]
    stat.write_text(lines[0])
    monkeypatch.setattr(threads, "STAT", stat)
    monkeypatch.setattr(threads.time, "sleep", lambda seconds: stat.write_text(lines[1]))
    assert threads.busy_cores({0, 1}) == pytest.approx(1.5)
    assert threads.busy_cores({7}) == 0.0


def test_threads_that_there_cannot_be_are_refused(toy_data, tmp_path):
    with pytest.raises(ForeframeError, match="--threads 0: must be at least 1"):
        start(TINY, toy_data, tmp_path / "run", TrainOptions(device="cpu", threads=0))
    assert not (tmp_path / "run").exists()
