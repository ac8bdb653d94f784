"""What earlier versions wrote, every later one reads: run folders, stores, checkpoints, cards.

``tests/data/VERSION`` holds small ones, as that version wrote them. After a change of any format
a new folder is added beside them; none is ever made anew.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch

from foreframe import Clip, ForeframeError, VideoCVAE
from foreframe.commands.app import main
from foreframe.data.store.store import Store
from foreframe.diagnosis.result import Diagnosis
from foreframe.evaluation.card import Card
from foreframe.evaluation.compare import compare
from foreframe.evaluation.evaluate import evaluate
from foreframe.evaluation.options import EvaluateOptions
from foreframe.probe.result import ProbeResult
from foreframe.report import write_report
from foreframe.runs.folder import saved_config
from foreframe.training.checkpoint import load_last
from foreframe.training.listener import Listener
from foreframe.training.options import TrainOptions
from foreframe.training.start import start

DATA = Path(__file__).parent / "data"
VERSIONS = sorted(path.name for path in DATA.iterdir())


@pytest.fixture(params=VERSIONS)
def old(request, tmp_path) -> Path:
    """The folder of one version, copied: nothing is written into the corpus."""
    return Path(shutil.copytree(DATA / request.param, tmp_path / request.param))


def test_a_store_of_an_earlier_version_is_read(old):
    store = Store(old / "store" / "train")
    assert len(store) == 2
    recording = store[0]
    assert recording.frames.shape == (6, 64, 64, 3)
    y, x = (recording.positions[3, :2] * 64).round().astype(int)
    assert recording.frames[3, y, x].tolist() == [230, 180, 60]
    assert recording.frames[3, y - 1, x - 1].tolist() == [40, 40, 40]
    assert (store.track_dim, recording.tracks) == (None, None)
    assert set(store.statistics()) == {"actions", "positions"}


def test_a_run_of_an_earlier_version_scores_what_its_card_says(old):
    before = Card.read(old / "run" / "evaluation.json")
    options = EvaluateOptions(n_future=3, device="cpu")
    now = evaluate(old / "run", old / "store", options, out=old / "now")
    for name in ("model", "copy-last", "posterior", "permuted", "zeroed"):
        rows = [card.row(name) for card in (before, now)]
        assert rows[1].psnr == pytest.approx(rows[0].psnr, abs=1e-3)
        assert rows[1].ssim == pytest.approx(rows[0].ssim, abs=1e-4)
    for difference in compare([before, now]).differences:
        assert difference.difference == pytest.approx(0, abs=1e-3)


def test_a_learned_prior_of_an_earlier_version_imagines(old):
    model = VideoCVAE.from_pretrained(old / "run-lp")
    recording = Store(old / "store" / "test")[0]
    frames = torch.tensor(recording.frames).permute(0, 3, 1, 2)[None]
    actions = torch.tensor(recording.actions)[None]
    clip = Clip(frames, actions)
    futures = model.generate(clip.frames[:, :2], clip.actions, n_samples=2)
    assert futures.shape == (1, 2, 4, 3, 64, 64)
    assert (futures[0, 0] - futures[0, 1]).abs().max() > 0


def test_a_checkpoint_of_an_earlier_version_can_be_gone_on_with(old):
    config = saved_config(old / "run")
    model = VideoCVAE(config.model)
    optimizer = torch.optim.Adam(model.parameters())
    progress = load_last(old / "run", model, optimizer)
    assert (progress.epoch, progress.step, len(progress.history)) == (3, 0, 3)
    moments = [state["exp_avg"] for state in optimizer.state.values()]
    assert len(moments) == len(list(model.parameters()))
    assert sum(float(moment.abs().sum()) for moment in moments) > 0


class Heard(Listener):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)


def test_a_stopped_run_of_an_earlier_version_goes_on_and_says_what_it_cannot_tell(old):
    """Its weights have no checksum, and neither settings nor all of its data are on record."""
    run, heard = old / "run-stopped", Heard()
    options = TrainOptions(device="cpu", threads=1, resume=True)
    training = start(saved_config(run), old / "store", run, options, listener=heard)
    assert (training.progress.epoch, training.progress.step) == (1, 2)
    said = "\n".join(heard.messages)
    assert "last.safetensors: has no checksum" in said
    assert "last.safetensors: an earlier version wrote it, without a record of the setti" in said
    assert "run.json: an earlier version wrote it, without a full record of the data" in said
    history = training.fit()
    assert [row["epoch"] for row in history] == [0, 1]
    # From now on there are records, and nothing is left to say.
    heard.messages.clear()
    start(saved_config(run), old / "store", run, options, listener=heard)
    assert heard.messages == []
    assert VideoCVAE.from_pretrained(run).config == saved_config(run).model


def test_a_stopped_run_of_an_earlier_version_is_not_gone_on_with_on_other_data(old):
    """It has a fingerprint of its training split alone, which is compared."""
    run = old / "run-stopped"
    shutil.rmtree(old / "store" / "train")
    shutil.copytree(old / "store" / "test", old / "store" / "train")
    options = TrainOptions(device="cpu", threads=1, resume=True)
    with pytest.raises(ForeframeError, match=r"not the data .*train has .*other contents"):
        start(saved_config(run), old / "store", run, options)


def test_a_run_whose_recipe_has_changed_goes_on_as_it_began(old, capsys):
    """Its recipe, the demo, is another net today."""
    path = old / "run" / "run.json"
    values = json.loads(path.read_text())
    assert (values["recipe"], values["model"]["net"]) == ("demo", "dcgan64")
    values["train"]["epochs"] += 1
    path.write_text(json.dumps(values))
    words = ["train", "demo", "--data", str(old / "store"), "--out", str(old / "run"), "--resume"]
    main([*words, "--device", "cpu"])
    assert len(json.loads((old / "run" / "history.json").read_text())) == values["train"]["epochs"]
    assert VideoCVAE.from_pretrained(old / "run").config.net == "dcgan64"
    with pytest.raises(SystemExit):
        main([*words, "--net", "places64"])
    assert "--net is dcgan64 there and places64 here" in capsys.readouterr().err


def test_a_probe_and_a_diagnosis_of_an_earlier_version_are_read(old):
    probe = ProbeResult.read(old / "run" / "probe.json")
    assert set(probe.listening.costs) == {"permuted", "zeroed", "opposed"}
    assert probe.listening.actions.recovered["permuted, recorded"].overall is not None
    assert probe.spread.calibration is None
    diagnosis = Diagnosis.read(old / "run" / "diagnosis.json")
    values = json.loads((old / "run" / "diagnosis.json").read_text())
    assert diagnosis.to_json() == values


def test_a_report_is_written_of_an_earlier_version(old):
    assert "run" in write_report(old / "run").read_text(encoding="utf-8")
