"""Exported graphs give what PyTorch gives, step by step."""

import json

import jaxtyping
import pytest
import torch

from foreframe.commands.app import main
from foreframe.config.model import ModelConfig
from foreframe.errors import ForeframeError
from foreframe.runs.hub import VideoCVAE, load_model
from foreframe.runs.onnx_export import export_onnx
from foreframe.runs.onnx_model import OnnxModel
from foreframe.runs.shipped import shipped
from foreframe.simulator.episode import simulate_sequence

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

SMALL = {"width": 0.125, "g_dim": 16, "z_dim": 4, "rnn_size": 16}
SMALL |= {"action_dim": 4, "position_dim": 3}


@pytest.fixture(scope="module", autouse=True)
def shapes_unchecked():
    """While a graph is traced, numbers of futures are symbols and no integers."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def push_export(tmp_path_factory):
    out = tmp_path_factory.mktemp("onnx") / "push"
    export_onnx(shipped("push"), out)
    return out


@pytest.fixture(scope="module")
def push_half(tmp_path_factory):
    out = tmp_path_factory.mktemp("onnx") / "half"
    export_onnx(shipped("push"), out, precision="float16")
    return out


def run_of(folder, **config):
    torch.manual_seed(0)
    model = VideoCVAE(ModelConfig(**(SMALL | config)))
    for parameter in model.parameters():  # biases and norms that are not what they begin with
        parameter.data += 0.02 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return folder


def compared(model, exported, samples, steps, seed=0):
    """The largest difference of frames over so many steps, of both run on their own."""
    random = torch.Generator().manual_seed(seed)
    config = model.config
    made = simulate_sequence(0, 2, 0)
    past = torch.tensor(made.frames[:2]).permute(0, 3, 1, 2)[None].float() / 255
    actions, positions = (torch.tensor(x)[None] for x in (made.actions, made.positions))
    told = {
        "actions": actions[:, :2] if config.uses_actions else None,
        "positions": positions[:, :2] if config.uses_positions else None,
    }
    noise = torch.randn(1, samples, 1, config.z_dim, generator=random)
    ours = model.begin(past, **told, n_samples=samples, noise=noise)
    theirs = exported.begin(past, **told, n_samples=samples, noise=noise)
    worst = []
    for t in range(steps):
        row = t % 29
        action = actions[:, row] if config.uses_actions else None
        position = positions[:, row] if config.uses_positions else None
        noise = torch.randn(1, samples, config.z_dim, generator=random)
        frames, ours = model.step(ours, action, position, noise=noise)
        again, theirs = exported.step(theirs, action, position, noise=noise)
        assert frames.shape == again.shape
        worst.append(float((frames - again).abs().max()))
    return max(worst)


@pytest.mark.parametrize("samples", [1, 2, 8])
def test_the_shipped_model_is_the_same_over_100_steps(push_export, samples):
    model = load_model(shipped("push")).eval()
    steps = 100 if samples == 2 else 20
    assert compared(model, OnnxModel(push_export), samples, steps) < 1e-4


def test_half_precision_loses_nothing_of_the_shipped_model(push_export, push_half):
    """Whose weights are shipped in half precision; the files take half the room."""
    model = load_model(shipped("push")).eval()
    assert compared(model, OnnxModel(push_half), 4, 20) < 1e-4
    for name in ("begin.onnx", "step.onnx"):
        assert (push_half / name).stat().st_size < 0.6 * (push_export / name).stat().st_size
    assert sum((push_half / n).stat().st_size for n in ("begin.onnx", "step.onnx")) < 8.5e6


@pytest.mark.parametrize(
    "config",
    [
        {"net": "dcgan64", "prior": "fixed", "condition": "both", "timing": "target"},
        {"net": "dcgan64", "prior": "learned", "condition": "actions", "timing": "source"},
        {"net": "vgg64", "prior": "fixed", "condition": "actions", "recurrence": "latent"},
        {"net": "vgg64", "prior": "learned", "condition": "none"},
    ],
    ids=lambda config: f"{config['net']}-{config['prior']}-{config['condition']}",
)
def test_models_of_svgs_kind_are_the_same_over_100_steps(tmp_path, config):
    run = run_of(tmp_path / "run", **config)
    sizes = export_onnx(run, tmp_path / "out")
    model, exported = load_model(run).eval(), OnnxModel(tmp_path / "out")
    assert compared(model, exported, 3, 100) < 1e-4
    assert compared(model, exported, 1, 5) < 1e-4
    assert set(sizes) == {"begin.onnx", "step.onnx", "model.json"}


def test_half_precision_changes_other_models_little(tmp_path):
    run = run_of(tmp_path / "run", net="dcgan64", condition="actions")
    export_onnx(run, tmp_path / "out", precision="float16")
    assert 0 < compared(load_model(run).eval(), OnnxModel(tmp_path / "out"), 2, 10) < 0.01


def test_what_goes_in_and_out_is_described(push_export):
    import onnxruntime

    told = json.loads((push_export / "model.json").read_text())
    for part in ("begin", "step"):
        session = onnxruntime.InferenceSession(str(push_export / told[part]["file"]))
        assert [one.name for one in session.get_inputs()] == [
            one["name"] for one in told[part]["inputs"]
        ]
        assert [one.name for one in session.get_outputs()] == told[part]["outputs"]
    assert told["latent_of_episode"]
    assert [one["label"] for one in told["actions"]] == ["dx", "dy", "lift", "dyaw"]
    assert told["frame_rate"] == 10
    assert {one["name"] for one in told["state"] if one["changes"]} >= {
        "now.arm.pose",
        "now.motion.place",
    }
    # No path of the machine that wrote it.
    assert b"site-packages" not in (push_export / "step.onnx").read_bytes()


def test_the_command_says_sizes_and_refuses_in_a_line(tmp_path, capsys, monkeypatch):
    run = run_of(tmp_path / "run", net="dcgan64", condition="none")
    main(["export", "onnx", str(run), str(tmp_path / "out")])
    assert "step.onnx" in capsys.readouterr().out
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("")

    def refused(*words):
        with pytest.raises(SystemExit) as ended:
            main(["export", "onnx", *map(str, words)])
        assert ended.value.code == 2
        said = capsys.readouterr().err.strip()
        assert len(said.splitlines()) == 1
        return said

    assert "holds other files (notes.txt)" in refused(run, tmp_path / "mine")
    assert "is a file" in refused(run, tmp_path / "file")
    assert "a trained run is needed here" in refused(tmp_path / "none", tmp_path / "new")
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    assert "pip install 'foreframe[onnx]'" in refused(run, tmp_path / "new")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "new").exists()


def test_rows_that_the_model_is_told_must_be_given(push_export):
    with pytest.raises(ForeframeError, match="actions: the model is told them"):
        OnnxModel(push_export).begin(torch.zeros(1, 2, 3, 64, 64))
