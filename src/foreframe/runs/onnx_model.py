"""An exported model run by onnxruntime: begin and step, as ``VideoCVAE`` has them."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from foreframe.errors import ForeframeError
from foreframe.runs.onnx_export import BEGIN, DESCRIPTION, STEP
from foreframe.system.files import read_json


class OnnxMoment(NamedTuple):
    """K futures of one sequence at one moment; ``begin`` and ``step`` make them.

    Attributes:
        leaves: the tensors of the moment by their names, as model.json lists them.
        samples: futures K.
    """

    leaves: dict[str, Float32[np.ndarray, "*any"]]
    samples: int


class OnnxModel:
    """Imagines one sequence with any number of futures.

    Attributes:
        description: what model.json says.

    Args:
        folder: of ``foreframe export onnx``.
        threads: that compute.

    Raises:
        ForeframeError: the extra is missing, or the folder holds no export.
    """

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ForeframeError(
                f"This needs the package {error.name}: pip install 'foreframe[onnx]'."
            ) from error
        self.description: dict[str, Any] = read_json(folder / DESCRIPTION)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._begin, self._step = (
            onnxruntime.InferenceSession(
                str(folder / name), options, providers=["CPUExecutionProvider"]
            )
            for name in (BEGIN, STEP)
        )
        self._names = [one["name"] for one in self.description["state"]]
        self._changing = [one["name"] for one in self.description["state"] if one["changes"]]

    def begin(
        self,
        past: Float[Tensor, "1 n_past 3 height width"],
        actions: Float[Tensor, "1 rows action"] | None = None,
        positions: Float[Tensor, "1 rows position"] | None = None,
        *,
        n_samples: int = 1,
        noise: Float[Tensor, "1 n_samples steps z"] | None = None,
    ) -> OnnxMoment:
        """The moment after the given frames.

        Args:
            past: in [0, 1].
            actions: of the given frames, the first ones as many as are needed.
            positions: likewise.
            n_samples: futures K.
            noise: from N(0, I); by default drawn.
        """
        if noise is None:
            steps, z_dim = past.shape[1] - 1, self.description["z_dim"]
            noise = torch.randn(1, n_samples, steps, z_dim)
        given = {"frames": past, "actions": actions, "positions": positions, "noise": noise[0]}
        fed = {}
        for wanted in self.description["begin"]["inputs"]:
            value = given[wanted["name"]]
            if value is None:
                raise ForeframeError(f"{wanted['name']}: the model is told them.")
            if wanted["name"] in ("actions", "positions"):
                value = value[:, : wanted["shape"][1]]
            fed[wanted["name"]] = _array(value)
        made = self._begin.run(None, fed)
        return OnnxMoment(dict(zip(self._names, made, strict=True)), n_samples)

    def step(
        self,
        now: OnnxMoment,
        action: Float[Tensor, "1 action"] | None = None,
        position: Float[Tensor, "1 position"] | None = None,
        *,
        noise: Float[Tensor, "1 n_samples z"] | None = None,
    ) -> tuple[Float[Tensor, "1 n_samples 3 height width"], OnnxMoment]:
        """Imagine one frame more; ``now`` stays as it is."""
        if noise is None and not self.description["latent_of_episode"]:
            noise = torch.randn(1, now.samples, self.description["z_dim"])
        given = {
            "action": action,
            "position": position,
            "noise": None if noise is None else noise[0],
        }
        fed = {
            name: _array(value) if value is not None else now.leaves[name]
            for name, value in (
                (one["name"], given.get(one["name"])) for one in self.description["step"]["inputs"]
            )
        }
        frames, *later = self._step.run(None, fed)
        after = {**now.leaves, **dict(zip(self._changing, later, strict=True))}
        return torch.from_numpy(frames)[None], OnnxMoment(after, now.samples)


def _array(value: Tensor) -> Float32[np.ndarray, "*any"]:
    return np.ascontiguousarray(value.numpy(), np.float32)
