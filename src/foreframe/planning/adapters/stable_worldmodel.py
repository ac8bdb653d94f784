"""A model as the solvers of stable-worldmodel call theirs: candidates to what each costs.

Source: the public repository galilai-group/stable-worldmodel: its protocol ``Costable``, the
"rollout contract" of ``docs/api/planning.md``, its solvers, which hand over information with a
candidate axis, and ``HistoryBuffer``, which keeps the frames and actions before.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.errors import ForeframeError
from foreframe.model.imagines import Imagines
from foreframe.model.inputs import given
from foreframe.planning.adapters.candidates import Candidates
from foreframe.runs.hub import load_model
from foreframe.system.device import choose_device

PREDICTED = "predicted_pixels"
"""What the imagined frames are called in the information that ``criterion`` is given."""


class GoalCost(nn.Module):
    """What candidates cost: how far the last imagined frame is from a picture of the goal.

    A policy must keep as many frames as the model is given: ``PlanConfig(history_len=2)``, with
    ``action_block=1``, a world of ``image_shape`` as the model's frames, and no ``transform`` of
    "pixels" and "goal" other than to [0, 1]. Another cost is a subclass with its own ``criterion``.

    Args:
        model: conditioned on actions alone, in source-time.
        n_past: given frames.
        futures: futures K of each candidate, whose costs are averaged.
        seed: of the latent.
        at_once: futures that are imagined side by side.

    Raises:
        ForeframeError: the model is told something else, or a number has no meaning.
    """

    def __init__(
        self,
        model: Imagines,
        n_past: int = 2,
        *,
        futures: int = 1,
        seed: int = 0,
        at_once: int = 256,
    ) -> None:
        super().__init__()
        self.model = model  # as a part, so that solvers find its type of numbers
        self._candidates = Candidates(model, n_past, futures, seed, at_once)

    @classmethod
    def load(cls, run: str | Path, *args: Any, device: str = "auto", **options: Any) -> Self:
        """With the model of a run folder, or one that comes with the package.

        Args:
            run: the run folder, or the name of a shipped model ("push").
            args: see the class.
            device: of PyTorch ("cuda:0"), or "auto" for the best there is.
            options: see the class.

        Raises:
            ForeframeError: there is no such run, or see the class.
        """
        where = choose_device() if device == "auto" else torch.device(device)
        return cls(load_model(Path(run), where), *args, **options)

    def get_cost(
        self, info_dict: Mapping[str, Any], action_candidates: Float[Tensor, "batch n horizon a"]
    ) -> Float[Tensor, "batch n"]:
        """What each of S candidates costs in each of B environments.

        Args:
            info_dict: the same for all candidates of an environment: "pixels" [B, S, T, 3, H, W],
                the last T frames, T = n_past or more, and "goal" [B, S, T, 3, H, W], whose last
                frame is the goal (both uint8 or in [0, 1], channels first or last);
                "action_history" [B, S, T - 1, A], the actions between the frames.
            action_candidates: [B, S, H, A], the actions that follow.

        Returns:
            the lower, the better; on the device of the candidates. ``info_dict`` stays as it is.

        Raises:
            ForeframeError: something is missing, frames are of another size, shapes do not match,
                or gradients are wanted.
        """
        if not isinstance(action_candidates, Tensor):
            raise ForeframeError("action_candidates: give one tensor, of one action space.")
        if action_candidates.requires_grad:
            raise ForeframeError(
                "action_candidates: the model imagines without gradients. Take a solver that needs "
                "none (CEMSolver, ICEMSolver, MPPISolver)."
            )
        past, told = self._context(info_dict, action_candidates)
        self._candidates.check(past, told, action_candidates)
        imagined = [
            frames
            for _, _, frames in self._candidates.imagine(
                past, told, action_candidates.float(), last_only=True
            )
        ]
        costs = self.criterion({**info_dict, PREDICTED: torch.cat(imagined, 1)}, action_candidates)
        return costs.to(action_candidates)

    def criterion(
        self, info_dict: Mapping[str, Any], action_candidates: Float[Tensor, "batch n horizon a"]
    ) -> Float[Tensor, "batch n"]:
        """Mean squared error of the last imagined frame to the goal, mean over the futures.

        Args:
            info_dict: as in ``get_cost``, and ``PREDICTED`` [B, S, K, 3, H, W] in [0, 1].
            action_candidates: [B, S, H, A].
        """
        imagined = info_dict[PREDICTED]
        goal = self._frames(info_dict, "goal")[:, -1].to(imagined.device)
        return (imagined - goal[:, None, None]).square().mean((2, 3, 4, 5))

    def _context(self, info_dict: Mapping[str, Any], candidates: Tensor) -> tuple[Tensor, Tensor]:
        """Given frames and the actions between them; the first candidate's stand for all."""
        n_past = self._candidates.n_past
        pixels = self._frames(info_dict, "pixels")
        if pixels.shape[1] < n_past:
            raise ForeframeError(
                f"info_dict['pixels']: {pixels.shape[1]} frames, but the model is given {n_past}. "
                f"Plan with PlanConfig(history_len={n_past})."
            )
        self._frames(info_dict, "goal")
        if "action_history" not in info_dict:
            raise ForeframeError(
                "info_dict: has no 'action_history', the actions between the given frames. Plan "
                f"with PlanConfig(history_len={n_past}), in a version that hands them over."
            )
        told = torch.as_tensor(info_dict["action_history"])
        if told.dim() != 4 or told.shape[:2] != candidates.shape[:2]:
            raise ForeframeError(
                f"info_dict['action_history']: has shape {list(told.shape)}, and the candidates "
                f"{list(candidates.shape)}; expected the same first two axes."
            )
        return pixels[:, -n_past:], told[:, 0, 1 - n_past :].float()

    def _frames(self, info_dict: Mapping[str, Any], name: str) -> Tensor:
        """[B, T, 3, H, W] of the first candidate, float32 in [0, 1]."""
        if name not in info_dict:
            raise ForeframeError(f"info_dict: has no {name!r}.")
        frames = torch.as_tensor(info_dict[name])
        if frames.dim() != 6:
            raise ForeframeError(
                f"info_dict[{name!r}]: has shape {list(frames.shape)}; expected [environments, "
                "candidates, frames, ...]."
            )
        try:
            seen = given(frames[:, 0], None, None, self.model.config.frame_size).past
        except ForeframeError as error:
            raise ForeframeError(f"info_dict[{name!r}], {error}") from error
        return seen.float().div(1 if seen.is_floating_point() else 255)
