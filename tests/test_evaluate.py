"""Evaluation and prediction: baselines against hand computation, protocol, and what is written."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from foreframe import ForeframeError, ModelConfig, VideoCVAE
from foreframe.config.plain import to_dict
from foreframe.config.recipes import recipe
from foreframe.data.lab import list_sequences, read_sequence, write_sequence
from foreframe.evaluation.card import Card
from foreframe.evaluation.conditions import lenders, permutation_without_fixed_points
from foreframe.evaluation.evaluate import evaluate
from foreframe.evaluation.options import EvaluateOptions, PredictOptions
from foreframe.evaluation.predict import predict
from foreframe.report import write_report
from foreframe.system.files import write_json
from foreframe.training.checkpoint import save_best

SHORT = EvaluateOptions(n_future=4)
BAIR = Path(__file__).parents[2] / "shared" / "data" / "bair" / "bair_sample.npz"


def make_run(folder: Path, **settings) -> Path:
    torch.manual_seed(0)
    small = {"net": "dcgan64", "width": 0.125, "g_dim": 16, "z_dim": 4, "rnn_size": 16}
    model = VideoCVAE(ModelConfig(**{**small, **settings}))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
    save_best(folder, model)
    return folder


def rows_of(card) -> dict:
    return {row.name: row for row in card.rows}


def quiet(text: str) -> None:
    pass


def test_copy_last_is_what_one_computes_by_hand(toy_data, tmp_path):
    card = evaluate(make_run(tmp_path / "run"), toy_data, SHORT, log=quiet)
    values = []
    for folder in list_sequences(toy_data, "test"):
        frames = read_sequence(folder).frames[:6].astype(float) / 255
        mse = ((frames[2:] - frames[1]) ** 2).mean(axis=(1, 2))  # [4, 3]
        with np.errstate(divide="ignore"):
            values.append(np.minimum(-10 * np.log10(mse), 100).mean())
    assert rows_of(card)["copy-last"].psnr == pytest.approx(np.mean(values), abs=1e-3)


def test_the_card_says_how_each_number_was_measured(toy_data, tmp_path):
    run = make_run(tmp_path / "run")
    card = evaluate(run, toy_data, SHORT, command="foreframe evaluate ...", log=quiet)
    assert Card.read(run / "evaluation.json") == card
    assert card.protocol.sequences == 3
    assert card.protocol.condition == "actions"
    assert card.protocol.timing == "source"
    rows = rows_of(card)
    assert rows["model"].condition == "actions, source-time"
    assert rows["permuted"].condition == "actions, source-time, another sequence's"
    for row in card.rows:
        assert len(row.psnr_per_step) == 4
        assert row.psnr == pytest.approx(np.mean(row.psnr_per_step))
        assert row.ssim == pytest.approx(np.mean(row.ssim_per_step))
    kept = np.load(run / "evaluation.npz")
    assert kept["truth"].shape == kept["prediction"].shape == (3, 6, 64, 64, 3)
    assert (kept["truth"][:, :2] == kept["prediction"][:, :2]).all()
    assert (kept["truth"][:, 2:] != kept["prediction"][:, 2:]).any()


def test_neither_batch_size_nor_a_limit_changes_a_sequence(toy_data, tmp_path):
    run = make_run(tmp_path / "run")
    one = evaluate(run, toy_data, replace(SHORT, batch_size=1), log=quiet)
    three = evaluate(run, toy_data, replace(SHORT, batch_size=3), log=quiet)
    assert rows_of(one)["model"].psnr == pytest.approx(rows_of(three)["model"].psnr, abs=1e-4)
    frames = np.load(run / "evaluation.npz")["prediction"][:2].copy()
    evaluate(run, toy_data, replace(SHORT, limit=2), log=quiet)
    again = np.load(run / "evaluation-partial.npz")["prediction"]
    assert np.abs(again.astype(int) - frames.astype(int)).max() <= 1


def test_a_model_that_listens_scores_differently_with_permuted_conditions(toy_data, tmp_path):
    hears = rows_of(evaluate(make_run(tmp_path / "hears"), toy_data, SHORT, log=quiet))
    assert abs(hears["model"].psnr - hears["permuted"].psnr) > 1e-6
    deaf = make_run(tmp_path / "deaf", condition="none")
    rows = rows_of(evaluate(deaf, toy_data, SHORT, log=quiet))
    assert rows["permuted"].psnr is None
    assert "no condition" in rows["permuted"].why_none


def test_the_permuted_row_uses_the_same_noise(toy_data, tmp_path):
    """With a condition of weight zero, model and permuted must agree to the last digit."""
    run = make_run(tmp_path / "run")
    model = VideoCVAE.from_pretrained(run)
    with torch.no_grad():
        model.frame_predictor.embed.weight[:, :4] = 0
    save_best(run, model)
    rows = rows_of(evaluate(run, toy_data, SHORT, log=quiet))
    assert rows["model"].psnr == rows["permuted"].psnr


def test_a_single_sequence_has_no_permuted_score(toy_data, tmp_path):
    card = evaluate(make_run(tmp_path / "run"), toy_data, replace(SHORT, limit=1), log=quiet)
    assert rows_of(card)["permuted"].psnr is None


def test_a_card_of_a_part_of_the_split_never_takes_the_place_of_the_runs(toy_data, tmp_path):
    run = make_run(tmp_path / "run")
    whole = evaluate(run, toy_data, SHORT, log=quiet)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    part = evaluate(run, toy_data, replace(SHORT, limit=2), log=quiet)
    assert part.is_partial
    assert not whole.is_partial
    assert {name: (run / name).read_bytes() for name in before} == before
    assert Card.read(run / "evaluation-partial.json") == part
    assert "part of the split" in (run / "evaluation-partial.md").read_text()
    # A limit that leaves nothing out is none.
    assert not evaluate(run, toy_data, replace(SHORT, limit=3), log=quiet).is_partial


def test_a_partial_card_that_version_0_1_wrote_counts_neither_for_hub_nor_report(
    toy_data, tmp_path
):
    run = make_run(tmp_path / "run")
    write_json(run / "run.json", to_dict(recipe("svg-small")))
    evaluate(run, toy_data, SHORT, log=quiet)
    path = run / "evaluation.json"
    values = json.loads(path.read_text())
    assert "## Scores" in str(VideoCVAE.from_pretrained(run).generate_model_card())
    assert "has not been evaluated" not in write_report(run).read_text()
    del values["partial"]
    for command in (
        "foreframe evaluate run --data d --limit 2",
        "foreframe evaluate --limit=2 run",
    ):
        path.write_text(json.dumps({**values, "command": command}))
        assert Card.read(path).is_partial
        assert "## Scores" not in str(VideoCVAE.from_pretrained(run).generate_model_card())
        assert "has not been evaluated" in write_report(run).read_text()


def test_opposed_is_mirrored_about_the_mean_of_the_training_split(toy_data, tmp_path):
    run = make_run(tmp_path / "run")
    card = evaluate(run, toy_data, SHORT, log=quiet)
    assert card.protocol.mirrored_about == "train"
    assert "mirrored about the mean of the train split" in card.row("opposed").condition
    shutil.copytree(toy_data / "test", tmp_path / "alone" / "test")
    alone = evaluate(run, tmp_path / "alone", SHORT, log=quiet)
    assert alone.protocol.mirrored_about == "test"
    for name in ("model", "permuted", "zeroed"):
        assert alone.row(name).psnr == card.row(name).psnr
    assert alone.row("opposed").psnr != card.row("opposed").psnr


def test_clips_and_views_never_lend_their_condition_to_their_own_recording():
    recordings = ["a", "a", "a", "b", "a", "c"]
    for seed in range(20):
        order = lenders(recordings, seed)
        assert all(recordings[j] != recordings[i] for i, j in enumerate(order))
        assert (lenders(recordings, seed) == order).all()
    assert lenders(["a", "a"], 0) is None
    assert lenders(["a"], 0) is None
    assert (lenders(list("abcdef"), 4) == permutation_without_fixed_points(6, 4)).all()


@pytest.mark.parametrize("n", [2, 3, 10, 101])
def test_the_permutation_leaves_nothing_in_its_place(n):
    for seed in range(5):
        order = permutation_without_fixed_points(n, seed)
        assert sorted(order) == list(range(n))
        assert (order != np.arange(n)).all()


def test_more_frames_than_there_are_is_refused_by_name(toy_data, tmp_path):
    with pytest.raises(ForeframeError, match="14 frames"):
        evaluate(make_run(tmp_path / "run"), toy_data, EvaluateOptions(n_future=20), log=quiet)


# -- predict ------------------------------------------------------------------------------------


def test_predict_writes_a_gif_a_strip_and_every_frame(toy_data, tmp_path):
    run = make_run(tmp_path / "run")
    sequence = list_sequences(toy_data, "test")[0]
    done = predict(run, sequence, tmp_path / "out", PredictOptions(samples=2, n_future=5))
    assert len(done.psnr) == 2
    with Image.open(tmp_path / "out" / "prediction.gif") as gif:
        assert gif.n_frames == 7
    assert (tmp_path / "out" / "strip.png").exists()
    truth = read_sequence(sequence).frames
    frames = [np.asarray(Image.open(tmp_path / "out" / "sample-0" / f"{t}.png")) for t in range(7)]
    assert (np.stack(frames[:2]) == truth[:2]).all()
    assert (frames[2] != truth[2]).any()


def test_predict_goes_to_the_end_of_the_recording_unless_told(toy_data, tmp_path):
    sequence = list_sequences(toy_data, "test")[0]
    predict(make_run(tmp_path / "run"), sequence, tmp_path / "out", PredictOptions(samples=1))
    assert len(list((tmp_path / "out" / "sample-0").iterdir())) == 14


def test_predict_refuses_what_it_cannot_do_and_keeps_what_is_there(toy_data, tmp_path):
    run = make_run(tmp_path / "run")
    sequence = list_sequences(toy_data, "test")[0]
    with pytest.raises(ForeframeError, match="14 frames"):
        predict(run, sequence, tmp_path / "out", PredictOptions(n_future=40))
    with pytest.raises(ForeframeError, match="--samples 0"):
        predict(run, sequence, tmp_path / "out", PredictOptions(samples=0))
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ForeframeError, match="exists already"):
        predict(run, sequence, tmp_path / "out")
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


@pytest.mark.skipif(not BAIR.exists(), reason="the real BAIR sequence is not beside the checkout")
def test_the_main_job_runs_on_a_real_bair_sequence(tmp_path):
    sample = np.load(BAIR)
    frames, actions = sample["aux1_image"].astype(np.uint8), sample["action"].astype(np.float32)
    folder = tmp_path / "bair" / "test" / "traj_0_to_255.tfrecords" / "1"
    write_sequence(folder, frames, actions)
    run = make_run(tmp_path / "run")
    card = evaluate(run, tmp_path / "bair", log=quiet)
    rows = rows_of(card)
    assert rows["copy-last"].psnr == pytest.approx(14.8, abs=0.05)
    assert rows["permuted"].psnr is None
    assert np.isfinite(rows["model"].psnr)
    predict(run, folder, tmp_path / "out", PredictOptions(samples=2))
    assert len(list((tmp_path / "out" / "sample-1").iterdir())) == 30
