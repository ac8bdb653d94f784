"""LPIPS and FVD with stand-in weights: the arithmetic against independent programs."""

from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from safetensors.torch import load_file
from torch import nn
from torchmetrics.functional.image import lpips as reference

from foreframe import ForeframeError
from foreframe.metrics.frechet import Extractor, FeatureMoments, frechet_distance
from foreframe.metrics.perceptual import _FILES, LPIPS, _layers

CPU = torch.device("cpu")
SHARED = Path(__file__).parents[2] / "shared" / "data"
REAL, BAIR = SHARED / "lpips", SHARED / "bair" / "bair_sample.npz"


@pytest.fixture(scope="module", params=["alex", "vgg"])
def stand_in(request, tmp_path_factory) -> tuple[str, Path, nn.Sequential]:
    """A net of the published layout with random weights, and its file."""
    torch.manual_seed(0)
    features, _ = _layers(request.param)
    path = tmp_path_factory.mktemp("weights") / "net.pth"
    tensors = {f"features.{k}": v for k, v in features.state_dict().items()}
    torch.save({**tensors, "classifier.1.weight": torch.zeros(2, 2)}, path)
    return request.param, path, features


def test_lpips_is_that_of_torchmetrics(stand_in, monkeypatch):
    """With the same random net: its own program, from the features to the sum."""
    name, path, features = stand_in
    monkeypatch.setattr(reference, "_get_tv_model_features", lambda net, pretrained: features)
    theirs = reference._LPIPS(pretrained=True, net=name, use_dropout=True, eval_mode=True)
    torch.manual_seed(1)
    truth, prediction = torch.rand(3, 3, 64, 64), torch.rand(3, 3, 64, 64)
    expected = theirs(prediction, truth, normalize=True).flatten().detach()
    found = LPIPS(name, path)(prediction, truth)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert found.min() > 1e-4


def test_lpips_keeps_leading_axes_and_is_0_for_the_truth(stand_in):
    name, path, _ = stand_in
    net = LPIPS(name, path)
    truth = torch.rand(2, 1, 3, 64, 64).expand(2, 3, 3, 64, 64)
    assert net(truth, truth).shape == (2, 3)
    assert net(truth, truth).abs().max() == 0
    near, far = (truth + s * torch.randn(2, 3, 3, 64, 64) for s in (0.02, 0.3))
    assert (net(near, truth) < net(far, truth)).all()


def test_weights_of_another_net_or_none_are_refused(stand_in, tmp_path, monkeypatch):
    name, path, _ = stand_in
    other = "vgg" if name == "alex" else "alex"
    with pytest.raises(ForeframeError, match="not those of the net"):
        LPIPS(other, path)
    with pytest.raises(ForeframeError, match="no such file"):
        LPIPS(name, tmp_path / "none.pth")
    (tmp_path / "bad.pth").write_bytes(b"nothing of the kind")
    with pytest.raises(ForeframeError, match="not a file of weights"):
        LPIPS(name, tmp_path / "bad.pth")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setitem(__import__("sys").modules, "torchvision", None)
    with pytest.raises(ForeframeError, match=rf"(?s)absent.*{_FILES[name]}.*--lpips-weights"):
        LPIPS(name)


def test_weights_that_torchvision_has_downloaded_are_found(stand_in, tmp_path, monkeypatch):
    name, path, _ = stand_in
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / _FILES[name]).write_bytes(path.read_bytes())
    frames = torch.rand(1, 3, 64, 64)
    assert LPIPS(name)(frames, 1 - frames) == LPIPS(name, path)(frames, 1 - frames)


@pytest.mark.skipif(not REAL.exists(), reason="the real weights are not beside the checkout")
def test_with_the_real_weights_a_blur_costs_more_than_the_same_error_of_brightness(monkeypatch):
    """And the values are those of torchmetrics' own program."""
    net = LPIPS("alex", REAL / "alexnet_features.safetensors")
    heads = load_file(REAL / "lpips_alex_v0.1_heads.safetensors")
    for k, head in enumerate(net.heads):
        assert torch.equal(head, heads[f"lin{k}.model.1.weight"][0])
    frames = torch.from_numpy(np.load(BAIR)["aux1_image"]).permute(0, 3, 1, 2).float() / 255
    monkeypatch.setattr(reference, "_get_tv_model_features", lambda net, pretrained: features)
    features = net.features
    theirs = reference._LPIPS(pretrained=True, net="alex", use_dropout=True, eval_mode=True)
    near, far = net(frames[1], frames[0]), net(frames[-1], frames[0])
    expected = theirs(frames[[1, -1]], frames[[0, 0]], normalize=True).flatten()
    torch.testing.assert_close(torch.stack([near, far]), expected, rtol=1e-4, atol=1e-6)
    assert 0 < near < far < 1
    blurred = nn.functional.avg_pool2d(frames[:1], 5, 1, 2, count_include_pad=False)
    size = (blurred - frames[:1]).square().mean().sqrt()
    brighter = frames[:1] + size
    assert net(blurred, frames[:1]) > 3 * net(brighter, frames[:1])


# -- the Fréchet distance -----------------------------------------------------------------------


def moments(x, parts=1) -> FeatureMoments:
    found = FeatureMoments()
    for part in np.array_split(x, parts):
        found.add(torch.from_numpy(part))
    return found


def reference_distance(x, y) -> float:
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(a @ b).real
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b - 2 * root))


def test_the_frechet_distance_is_that_of_scipys_matrix_root():
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 12)) @ random.normal(size=(12, 12)) + 1
    y = random.normal(size=(200, 12)) @ random.normal(size=(12, 12))
    assert frechet_distance(moments(x), moments(y)) == pytest.approx(
        reference_distance(x, y), rel=1e-6
    )
    few = x[:5]  # a covariance of lower rank than the features
    assert frechet_distance(moments(few), moments(y)) == pytest.approx(
        reference_distance(few, y), rel=1e-4
    )


def test_the_frechet_distance_of_known_gaussians():
    """Of N(0, s I) and N(m, t I) it is d (m^2 + (sqrt s - sqrt t)^2)."""
    random = np.random.default_rng(0)
    x = random.normal(size=(4000, 3)) * 2
    y = random.normal(size=(4000, 3)) + 1
    found = frechet_distance(moments(x), moments(y))
    assert found == pytest.approx(3 * (1 + (2 - 1) ** 2), rel=0.1)
    assert frechet_distance(moments(x), moments(x)) == pytest.approx(0, abs=1e-9)


def test_moments_do_not_depend_on_the_parts():
    x = np.random.default_rng(0).normal(size=(50, 4)) + 100
    whole, parts = moments(x), moments(x, parts=7)
    torch.testing.assert_close(whole.mean, torch.from_numpy(x.mean(0)))
    torch.testing.assert_close(whole.covariance, torch.from_numpy(np.cov(x, rowvar=False)))
    torch.testing.assert_close(parts.covariance, whole.covariance)
    with pytest.raises(ForeframeError, match="at least 2 videos"):
        _ = moments(x[:1]).covariance


class _Features(nn.Module):
    def forward(self, videos: torch.Tensor) -> torch.Tensor:
        return torch.stack([videos.mean((1, 2, 3, 4)), videos.amax((1, 2, 3, 4))], 1)


def scripted(path: Path, module: nn.Module) -> Path:
    with pytest.warns():  # PyTorch calls TorchScript deprecated
        torch.jit.script(module).save(str(path))
    return path


def test_the_extractor_is_given_videos_in_minus_1_to_1(tmp_path):
    extract = Extractor(scripted(tmp_path / "net.pt", _Features()), CPU)
    videos = torch.full((2, 4, 3, 8, 8), 0.75)
    assert extract(videos).tolist() == [[0.5, 0.5], [0.5, 0.5]]


class _Wrong(nn.Module):
    def forward(self, videos: torch.Tensor) -> torch.Tensor:
        return videos.mean()


def test_an_extractor_that_does_not_serve_is_refused(tmp_path):
    with pytest.raises(ForeframeError, match=r"no such file.*TorchScript"):
        Extractor(tmp_path / "none.pt", CPU)
    (tmp_path / "bad.pt").write_bytes(b"not a script")
    with pytest.raises(ForeframeError, match="not a TorchScript file"):
        Extractor(tmp_path / "bad.pt", CPU)
    wrong = Extractor(scripted(tmp_path / "wrong.pt", _Wrong()), CPU)
    with pytest.raises(ForeframeError, match="must give features"):
        wrong(torch.rand(2, 4, 3, 8, 8))
