"""FVD: the Fréchet distance between the features of true and of predicted videos."""

import warnings
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from foreframe.errors import ForeframeError


class FeatureMoments:
    """Mean and covariance of feature vectors that come in parts; the memory does not grow.

    Attributes:
        count: vectors so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean = torch.zeros(0, dtype=torch.float64)
        self._scatter = torch.zeros(0, 0, dtype=torch.float64)

    def add(self, features: Float[Tensor, "n d"]) -> None:
        """Add further vectors, merged as in Chan et al. 1983, equation 2.1."""
        x = features.detach().cpu().double()
        if self.count == 0:
            self._mean = torch.zeros(x.shape[1], dtype=torch.float64)
            self._scatter = torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64)
        total = self.count + len(x)
        mean = x.mean(0)
        apart = mean - self._mean
        centred = x - mean
        self._scatter += centred.T @ centred
        self._scatter += torch.outer(apart, apart) * (self.count * len(x) / total)
        self._mean = self._mean + apart * (len(x) / total)
        self.count = total

    @property
    def mean(self) -> Float[Tensor, " d"]:
        """Mean, float64."""
        return self._mean

    @property
    def covariance(self) -> Float[Tensor, "d d"]:
        """Sample covariance (n - 1), float64.

        Raises:
            ForeframeError: fewer than two vectors.
        """
        if self.count < 2:
            raise ForeframeError(
                f"A Fréchet distance needs at least 2 videos, and there is {self.count}. "
                "Evaluate more sequences."
            )
        return self._scatter / (self.count - 1)


def frechet_distance(a: FeatureMoments, b: FeatureMoments) -> float:
    """The squared Fréchet distance of two Gaussians with these moments.

    |mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)), Dowson & Landau 1982, equation 4; the root's
    trace is that of (A^(1/2) B A^(1/2))^(1/2), which is symmetric.

    Raises:
        ForeframeError: fewer than two vectors, or of different widths.
    """
    if len(a.mean) != len(b.mean):
        raise ForeframeError(
            f"The features have {len(a.mean)} and {len(b.mean)} numbers; they need the same "
            "extractor."
        )
    apart = (a.mean - b.mean).square().sum()
    root = _root(a.covariance)
    inner = root @ b.covariance @ root
    of_product = torch.linalg.eigvalsh((inner + inner.T) / 2).clamp(min=0).sqrt().sum()
    return float(apart + a.covariance.trace() + b.covariance.trace() - 2 * of_product)


def _root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


class Extractor:
    """Features of videos from any TorchScript file, such as the I3D that FVD was defined with.

    The file must map float32 videos [n, 3, T, H, W] with values in [-1, 1] to features [n, D]. It
    is a program: use one from a source that you trust.

    Args:
        path: of the file.
        device: where it runs.

    Raises:
        ForeframeError: the file is absent or no TorchScript.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        if not path.is_file():
            raise ForeframeError(
                f"--fvd-extractor {path}: no such file. FVD needs a TorchScript file that maps "
                "videos [n, 3, T, H, W] in [-1, 1] to features [n, D]; none comes with foreframe."
            )
        try:
            with warnings.catch_warnings():
                # PyTorch calls TorchScript old, but it is what extractors are published as.
                warnings.simplefilter("ignore")
                self._net = torch.jit.load(str(path), map_location=device).eval()
        except (RuntimeError, OSError, ValueError) as error:
            raise ForeframeError(
                f"--fvd-extractor {path}: is not a TorchScript file that can be loaded."
            ) from error
        self._path = path

    @torch.no_grad()
    def __call__(self, videos: Float[Tensor, "n time 3 height width"]) -> Float[Tensor, "n d"]:
        """Features of videos with frames in [0, 1].

        Raises:
            ForeframeError: the file does not take such videos, or gives something else.
        """
        try:
            features = self._net(videos.transpose(1, 2) * 2 - 1)
        except RuntimeError as error:
            last = str(error).strip().splitlines()[-1]
            raise ForeframeError(
                f"--fvd-extractor {self._path}: does not take videos of shape "
                f"{list(videos.transpose(1, 2).shape)} ({last})."
            ) from error
        if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != len(videos):
            raise ForeframeError(
                f"--fvd-extractor {self._path}: must give features [n, D] for {len(videos)} videos."
            )
        return features
