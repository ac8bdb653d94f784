"""A model as the planners of VP2 call theirs.

Source: Tian, Finn and Wu 2023, "A Control-Centric Benchmark for Video Prediction", and the public
repository s-tian/vp2: its README ("Adding new models"), what its optimisers ask of a model
(``vp2/mpc``), and its own models (``vp2/models``), which agree that frames come channels last.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from foreframe.errors import ForeframeError
from foreframe.model.imagines import Imagines
from foreframe.model.inputs import given
from foreframe.planning.adapters.candidates import Candidates
from foreframe.runs.hub import load_model
from foreframe.system.device import choose_device

_RGB = "rgb"


class VP2Model:
    """A model that VP2's ``cem`` and ``mppi`` can plan with.

    Args:
        model: conditioned on actions alone, in source-time.
        n_past: given frames, VP2's ``n_context``.
        planning_modalities: must be "rgb" alone.
        max_batch_size: futures that are imagined side by side.
        futures: futures K of each candidate; more than one are returned as VP2's ensembles are, for
            its ``EnsembleObjective`` and ``mppi``.
        seed: of the latent.

    Attributes:
        num_context: given frames.
        base_prediction_modality: "rgb".
        planning_modalities: likewise, in a list.
        max_batch_size: see above.

    Raises:
        ForeframeError: the model is told something else, or an argument has no meaning.
    """

    base_prediction_modality = _RGB

    def __init__(
        self,
        model: Imagines,
        n_past: int = 2,
        planning_modalities: Sequence[str] = (_RGB,),
        max_batch_size: int = 200,
        *,
        futures: int = 1,
        seed: int = 0,
    ) -> None:
        if list(planning_modalities) != [_RGB]:
            raise ForeframeError(
                f"planning_modalities {list(planning_modalities)}: the model draws rgb alone."
            )
        self.planning_modalities = [_RGB]
        self.num_context, self.max_batch_size = n_past, max_batch_size
        self._candidates = Candidates(model, n_past, futures, seed, max_batch_size)

    @classmethod
    def load(
        cls, checkpoint_dir: str | Path, *args: Any, device: str = "auto", **options: Any
    ) -> Self:
        """The model of a run folder, or one that comes with the package; Hydra's ``_target_``.

        Args:
            checkpoint_dir: the run folder, absolute, since Hydra changes the working directory; or
                the name of a shipped model ("push").
            args: see the class.
            device: of PyTorch ("cuda:0"), or "auto" for the best there is.
            options: see the class.

        Raises:
            ForeframeError: there is no such run, or see the class.
        """
        where = choose_device() if device == "auto" else torch.device(device)
        return cls(load_model(Path(checkpoint_dir), where), *args, **options)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self._candidates.device

    def close(self) -> None:
        """Nothing is left open; VP2 calls it at its end."""

    def __call__(
        self, batch: Mapping[str, Any], grad_enabled: bool = False
    ) -> dict[str, Float32[np.ndarray, "*futures batch time height width 3"]]:
        """Predict what each candidate leads to.

        Args:
            batch: "video" [B, num_context, H, W, 3], the given frames, uint8 or in [0, 1] (also
                channels first, as VP2's README has them); and "actions" [B, T, A], the
                num_context - 1 between those frames and then the candidate's. Other entries, as
                "state_obs", are passed over.
            grad_enabled: refused if True.

        Returns:
            "rgb": the T frames after the first given one, which begin with the other given frames,
            in [0, 1]; [B, T, H, W, 3], or [K, B, T, H, W, 3] of K > 1 futures.

        Raises:
            ForeframeError: frames of another size, shapes that do not match, or gradients.
        """
        if grad_enabled:
            raise ForeframeError(
                "grad_enabled: the model imagines without gradients. Plan with VP2's cem or mppi."
            )
        for name in ("video", "actions"):
            if name not in batch:
                raise ForeframeError(f"batch: has no {name!r}.")
        size = self._candidates.model.config.frame_size
        seen = given(batch["video"], batch["actions"], None, size)
        assert seen.actions is not None
        known = self.num_context - 1
        past = seen.past.float().div(1 if seen.past.is_floating_point() else 255)
        told, planned = seen.actions[:, :known], seen.actions[:, known:]
        self._candidates.check(past, told, planned)
        frames = self._frames(past, told, planned).movedim(-3, -1).cpu().numpy()
        return {_RGB: frames if self._candidates.futures > 1 else frames[0]}

    def _frames(self, past: Tensor, told: Tensor, planned: Tensor) -> Tensor:
        """[K, B, T, 3, H, W]."""
        count, (horizon, futures) = len(past), (planned.shape[1], self._candidates.futures)
        frames = past.new_empty(futures, count, self.num_context - 1 + horizon, *past.shape[2:])
        frames[:, :, : self.num_context - 1] = past[:, 1:]
        later = frames[:, :, self.num_context - 1 :]
        # VP2 repeats one context for all candidates; it need not be encoded again for each.
        if (past == past[:1]).all() and (told == told[:1]).all():
            for some, t, made in self._candidates.imagine(
                past[:1], told[:1], planned[None], last_only=False
            ):
                later[:, some, t] = made[0].transpose(0, 1).cpu()
            return frames
        portion = max(1, self.max_batch_size // futures)
        for first in range(0, count, portion):
            rows = slice(first, first + portion)
            for _, t, made in self._candidates.imagine(
                past[rows], told[rows], planned[rows, None], last_only=False
            ):
                later[:, rows, t] = made[:, 0].transpose(0, 1).cpu()
        return frames
