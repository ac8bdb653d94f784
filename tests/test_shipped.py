"""Models that come with the package."""

import pytest
import torch

from foreframe import ForeframeError, ModelConfig, VideoCVAE
from foreframe.runs import shipped
from foreframe.runs.hub import load_model
from foreframe.training.checkpoint import save_best


@pytest.fixture
def packed(tmp_path, monkeypatch):
    """A small run among the models of the package, as ``tiny``."""
    torch.manual_seed(0)
    model = VideoCVAE(ModelConfig("places64", width=0.25, g_dim=16, z_dim=64, rnn_size=8)).eval()
    model.condition_mean.fill_(0.1)
    (tmp_path / "run").mkdir()
    save_best(tmp_path / "run", model)
    monkeypatch.setattr(shipped, "_SHIPPED", tmp_path / "models")
    shipped.write_half(tmp_path / "run", tmp_path / "models" / "tiny")
    return model


def test_half_precision_takes_half_the_room_and_imagines_the_same(packed, tmp_path):
    model = VideoCVAE.from_pretrained("tiny")
    assert model.world.out.weight.dtype == torch.float32
    assert torch.equal(model.condition_mean, packed.condition_mean)
    sizes = [
        (folder / "model.safetensors").stat().st_size
        for folder in (tmp_path / "run", tmp_path / "models" / "tiny")
    ]
    assert sizes[1] < 0.6 * sizes[0]
    past, actions = torch.rand(1, 2, 3, 64, 64), torch.randn(1, 6, 4)
    noise = torch.randn(1, 2, 5, 64)
    own, other = (m.generate(past, actions, n_samples=2, noise=noise) for m in (packed, model))
    assert (own - other).abs().max() < 0.01


def test_a_folder_of_the_same_name_comes_first(packed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    with pytest.raises(ForeframeError, match=r"tiny/config.json: no such file"):
        VideoCVAE.from_pretrained("tiny")


def test_commands_take_it_by_name(packed, tmp_path):
    from pathlib import Path

    assert load_model(Path("tiny")).config == packed.config
    with pytest.raises(ForeframeError, match=r"other: no such folder.*\(tiny\)"):
        VideoCVAE.from_pretrained("other")


def test_weights_that_half_precision_cannot_hold_are_refused(packed, tmp_path):
    with torch.no_grad():
        packed.world.out.weight[0, 0, 0, 0] = 1e6
    save_best(tmp_path / "run", packed)
    with pytest.raises(ForeframeError, match=r"world.out.weight holds values that float16 cannot"):
        shipped.write_half(tmp_path / "run", tmp_path / "models" / "big")


def test_the_model_that_comes_with_the_package_listens():
    """The weights that really come with it, on a scene that they have never seen."""
    model = VideoCVAE.from_pretrained("push")
    assert model.config.net == "places64"
    assert sum(parameter.numel() for parameter in model.parameters()) > 3e6
    draw = torch.Generator().manual_seed(0)
    past = torch.rand(1, 2, 3, 64, 64, generator=draw)
    actions = 0.05 * torch.randn(1, 30, 4, generator=draw)
    own, other = (
        model.generate(past, sign * actions, generator=torch.Generator().manual_seed(1))
        for sign in (1, -1)
    )
    assert own.shape == (1, 1, 28, 3, 64, 64)
    assert torch.isfinite(own).all()
    assert (own - other).abs().max() > 0.01
