"""LPIPS: the distance of two frames in the features of a net that was trained on photographs.

The layout of the two nets stands here, since torchvision's published build does not import beside
a CPU-only PyTorch. The learned weights of the layers come with torchmetrics; those of the nets are
torchvision's, and are not part of foreframe.
"""

from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from foreframe.errors import ForeframeError
from foreframe.metrics.measures import Metric

Backbone = Literal["alex", "vgg"]

# Source: Zhang et al. 2018, section 3; the five layers that are compared are the ReLUs before each
# pooling (VGG16) and after each convolution (AlexNet).
# A width is that of a 3x3 convolution; four numbers are width, kernel, stride and padding.
_Layers = tuple[int | str | tuple[int, int, int, int], ...]
_ALEX: _Layers = ((64, 11, 4, 2), "tap", "pool3", (192, 5, 1, 2), "tap", "pool3")
_ALEX += (384, "tap", 256, "tap", 256, "tap")
_VGG: _Layers = (64, 64, "tap", "pool2", 128, 128, "tap", "pool2", 256, 256, 256, "tap", "pool2")
_VGG += (512, 512, 512, "tap", "pool2", 512, 512, 512, "tap")

_FILES = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}
_TORCHVISION = {"alex": "AlexNet_Weights", "vgg": "VGG16_Weights"}

# Of photographs in [-1, 1], as the learned weights expect them.
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)


class LPIPS(nn.Module):
    """Learned perceptual distance of frames, Zhang et al. 2018, equation 1; 0 for equal frames.

    Args:
        backbone: "alex" (AlexNet) or "vgg" (VGG16).
        weights: file of the backbone's weights as torchvision publishes them, a state dict, or the
            same as safetensors; by default the one that torchvision has downloaded or can download.

    Raises:
        ForeframeError: torchmetrics is not installed, or the weights are absent or do not fit.
    """

    def __init__(self, backbone: Backbone = "alex", weights: Path | None = None) -> None:
        super().__init__()
        if backbone not in get_args(Backbone):
            known = ", ".join(get_args(Backbone))
            raise ForeframeError(f"--lpips {backbone}: unknown; known: {known}.")
        self.features, self._taps = _layers(backbone)
        _load(self.features, _backbone_weights(backbone, weights))
        self.heads = nn.ParameterList(_heads(backbone))
        self.register_buffer("shift", torch.tensor(_SHIFT)[:, None, None])
        self.register_buffer("scale", torch.tensor(_SCALE)[:, None, None])
        self.requires_grad_(False).eval()

    shift: Tensor
    scale: Tensor

    @torch.no_grad()
    def forward(
        self,
        prediction: Float[Tensor, "*batch 3 height width"],
        truth: Float[Tensor, "*batch 3 height width"],
    ) -> Float[Tensor, "*batch"]:
        """The distance of each pair of frames in [0, 1]; lower is nearer."""
        both = torch.stack([prediction, truth.expand_as(prediction)])
        x = ((2 * both - 1 - self.shift) / self.scale).flatten(0, -4)
        total: Tensor | None = None
        compared = 0
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self._taps:
                unit = x / (x.square().sum(1, keepdim=True) + 1e-8).sqrt()
                a, b = unit.chunk(2)
                head = self.heads[compared]
                distance = ((a - b).square() * head).sum(1).mean((1, 2))
                total = distance if total is None else total + distance
                compared += 1
        assert total is not None
        return total.unflatten(0, prediction.shape[:-3]) if prediction.ndim > 3 else total[0]


def lpips_metric(backbone: Backbone, weights: Path | None, device: torch.device) -> Metric:
    """LPIPS as one of the metrics of an evaluation.

    Raises:
        ForeframeError: see ``LPIPS``.
    """
    net = LPIPS(backbone, weights).to(device)
    return Metric(
        f"lpips-{backbone}",
        f"LPIPS ({'AlexNet' if backbone == 'alex' else 'VGG16'})",
        "",
        "Zhang et al. 2018, version 0.1 of the learned weights, frames at their own size, mean "
        "over frames, then sequences; lower is better",
        net,
        0.0,
        higher_is_better=False,
    )


def _layers(backbone: Backbone) -> tuple[nn.Sequential, frozenset[int]]:
    """The feature layers, numbered as torchvision does, and those whose output is compared."""
    layers: list[nn.Module] = []
    taps: list[int] = []
    channels = 3
    for part in _ALEX if backbone == "alex" else _VGG:
        if part == "tap":
            taps.append(len(layers) - 1)
        elif part == "pool2":
            layers.append(nn.MaxPool2d(2))
        elif part == "pool3":
            layers.append(nn.MaxPool2d(3, 2))
        else:
            width, kernel, stride, padding = part if isinstance(part, tuple) else (part, 3, 1, 1)
            convolution = nn.Conv2d(channels, int(width), kernel, stride, padding)
            layers += [convolution, nn.ReLU()]
            channels = int(width)
    return nn.Sequential(*layers), frozenset(taps)


def _heads(backbone: Backbone) -> list[nn.Parameter]:
    # A file of another package's data: its public function builds the net anew in each call and
    # takes no weights from a file, and the learned weights are not ours to copy.
    try:
        folder = resources.files("torchmetrics.functional.image") / "lpips_models"
        with resources.as_file(folder / f"{backbone}.pth") as path:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (ImportError, OSError) as error:
        raise ForeframeError(
            f"--lpips {backbone}: the learned weights come with torchmetrics, which is not "
            "installed. Install it: pip install 'foreframe[lpips]'."
        ) from error
    return [nn.Parameter(tensors[f"lin{k}.model.1.weight"][0]) for k in range(5)]


def _backbone_weights(backbone: Backbone, given: Path | None) -> tuple[dict[str, Any], Path | str]:
    """The net's tensors, and where they are from."""
    cached = Path(torch.hub.get_dir()) / "checkpoints" / _FILES[backbone]
    path = given or (cached if cached.is_file() else None)
    if path is None:
        return _downloaded(backbone, cached), "torchvision"
    if not path.is_file():
        raise ForeframeError(f"--lpips-weights {path}: no such file.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path), path
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # an unpickler may raise anything at all
        raise ForeframeError(
            f"{path}: is not a file of weights ({type(error).__name__}). It must be a state dict "
            f"of torchvision's, such as {_FILES[backbone]}, or the same as safetensors."
        ) from error
    if not isinstance(tensors, dict):
        raise ForeframeError(f"{path}: holds no state dict of {_FILES[backbone]}.")
    return tensors, path


def _downloaded(backbone: Backbone, cached: Path) -> dict[str, Any]:
    try:
        from torchvision import models

        weights = getattr(models, _TORCHVISION[backbone]).DEFAULT
        return dict(weights.get_state_dict(progress=True, check_hash=True))
    except (ImportError, OSError, RuntimeError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ForeframeError(
            f"--lpips {backbone}: the weights of its net are absent, and torchvision cannot bring "
            f"them ({why}). Install it (pip install 'foreframe[lpips]'), put its file "
            f"{_FILES[backbone]} at {cached}, or name the file: --lpips-weights FILE."
        ) from error


def _load(features: nn.Sequential, weights: tuple[dict[str, Any], Path | str]) -> None:
    tensors, where = weights
    prefix = "features."
    own = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
    wanted = features.state_dict()
    if own.keys() != wanted.keys() or any(own[k].shape != wanted[k].shape for k in wanted):
        raise ForeframeError(
            f"{where}: its tensors are not those of the net: {len(own)} named {prefix}*, "
            f"{len(wanted)} expected. Use the file of the net that --lpips names."
        )
    features.load_state_dict(own)
