"""Does the model listen: what false conditions cost, and which actions its frames show."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from foreframe.config.model import ModelConfig
from foreframe.data.statistics import Statistics
from foreframe.data.store.batches import evaluation_batches
from foreframe.data.store.store import Store
from foreframe.evaluation.conditions import permutation_without_fixed_points
from foreframe.evaluation.sampling import Imagines, sequence_noise
from foreframe.metrics import psnr
from foreframe.metrics.intervals import bootstrap_of_sums
from foreframe.model.clip import Clip
from foreframe.probe.inverse import Inverse

FALSE = ("shuffled", "zeroed", "opposed")
"""False conditions: another sequence's, zeros, its own mirrored about the training split's mean."""


class Recovery(NamedTuple):
    """How well actions were recovered.

    Attributes:
        overall: R squared of all varying numbers together; None if none of them varies here.
        interval: 95 % of it, by the bootstrap over sequences.
        per_dimension: of each kept column; None where it does not vary in these sequences.
        per_step: overall, of each predicted step.
    """

    overall: float | None
    interval: tuple[float, float] | None
    per_dimension: list[float | None]
    per_step: list[float | None]


def r_squared(
    found: Float64[np.ndarray, "sequences steps columns"],
    wanted: Float64[np.ndarray, "sequences steps columns"],
) -> Recovery:
    """Coefficient of determination, 1 - sum (a - a_found)^2 / sum (a - mean a)^2.

    1 is exact, 0 as good as always saying the mean of the scored actions, below 0 worse. The mean
    of a column is over all scored sequences and steps. Overall, both sums run over the columns as
    well, in standardised units, so that each counts by how much it varies here.

    Args:
        found: recovered actions, standardised.
        wanted: what they should be, standardised alike.
    """
    error = np.square(found - wanted)
    spread = np.square(wanted - wanted.mean((0, 1)))
    varies = spread.sum((0, 1)) > 1e-9
    if not varies.any():
        return Recovery(None, None, [None] * len(varies), [None] * found.shape[1])
    left, whole = error[..., varies].sum(-1), spread[..., varies].sum(-1)
    low, high = bootstrap_of_sums(left.sum(1), whole.sum(1))
    return Recovery(
        float(1 - left.sum() / whole.sum()),
        (1 - high, 1 - low),
        [
            float(1 - e / s) if s > 1e-9 else None
            for e, s in zip(error.sum((0, 1)), spread.sum((0, 1)), strict=True)
        ],
        [
            float(1 - e / s) if s > 1e-9 else None
            for e, s in zip(left.sum(0), whole.sum(0), strict=True)
        ],
    )


@dataclass(frozen=True)
class Heard:
    """What was measured.

    Attributes:
        psnr: mean over the predicted frames of each sequence, in dB, under each condition: "given"
            and those of ``FALSE`` that there are.
        recovered: R squared on "true" frames, on "predicted" ones, on "copy-last"; under shuffled
            conditions against the actions that were given ("shuffled") and against the recorded
            ones ("shuffled, recorded"). Empty without an inverse model.
    """

    psnr: dict[str, Float64[np.ndarray, " sequences"]]
    recovered: dict[str, Recovery]


def listen(
    model: Imagines,
    config: ModelConfig,
    store: Store,
    inverse: Inverse | None,
    *,
    means: dict[str, Statistics | None],
    n_past: int,
    n_future: int,
    sequences: int,
    seed: int,
    batch_size: int = 16,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Heard:
    """Predict one future of each sequence under true and false conditions, with the same noise.

    Args:
        model: a ``VideoCVAE`` or anything that yields futures as it does.
        config: what it is conditioned on, and the width of z.
        store: the split.
        inverse: recovers actions from frames; None if there are none to recover.
        means: the training split's statistics of actions and positions, for mirrored conditions.
        n_past: given frames.
        n_future: predicted frames.
        sequences: the first of the split.
        seed: of the noise, and of which sequence lends its condition to which.
        batch_size: sequences at once.
        device: where to compute.
        progress: called with (sequences done, all).
    """
    n_frames = n_past + n_future
    rows = ["given"]
    if config.condition != "none":
        rows += [name for name in FALSE if name != "shuffled" or sequences > 1]
    order = permutation_without_fixed_points(sequences, seed) if sequences > 1 else np.zeros(1, int)
    scores: dict[str, list[Tensor]] = {name: [] for name in rows}
    wanted = _Gathered()
    found = _Gathered()
    for clip in evaluation_batches(
        store, n_frames=n_frames, batch_size=batch_size, limit=sequences
    ):
        done = len(scores["given"]) * batch_size
        numbers = list(range(done, done + len(clip)))
        noise = torch.stack(
            [sequence_noise(seed, k, 1, n_frames - 1, config.z_dim) for k in numbers]
        )
        x = clip.frames.to(device).float().div_(255)
        past, truth = x[:, :n_past], x[:, n_past:]
        other = _of_others(store, [int(order[k]) for k in numbers], n_frames, clip)
        told = {"given": clip, "shuffled": other}
        told |= {name: _false(name, clip, means) for name in ("zeroed", "opposed")}
        for name in rows:
            shown = inverse if name in ("given", "shuffled") else None
            errors, actions = _imagine(model, past, truth, told[name], noise, shown, config=config)
            scores[name].append(errors)
            if actions is not None:
                found.add("predicted" if name == "given" else "shuffled", actions)
        if inverse is not None:
            assert clip.actions is not None
            assert other.actions is not None
            steps = slice(n_past - 1, n_frames - 1)
            wanted.add("own", inverse.columns.standardised(clip.actions[:, steps]))
            wanted.add("other", inverse.columns.standardised(other.actions[:, steps]))
            found.add("true", _recover(inverse, x[:, n_past - 1 : -1], truth))
            still = past[:, -1:].expand_as(truth)
            found.add("copy-last", _recover(inverse, still, still))
        progress(min(done + len(clip), sequences), sequences)
    recovered: dict[str, Recovery] = {}
    if inverse is not None:
        for name in ("true", "predicted", "copy-last"):
            recovered[name] = r_squared(found.of(name), wanted.of("own"))
        if "shuffled" in rows:
            recovered["shuffled"] = r_squared(found.of("shuffled"), wanted.of("other"))
            recovered["shuffled, recorded"] = r_squared(found.of("shuffled"), wanted.of("own"))
    return Heard({k: torch.cat(v).double().cpu().numpy() for k, v in scores.items()}, recovered)


class _Gathered:
    """Small arrays that come batch by batch, by name."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Tensor]] = {}

    def add(self, name: str, part: Tensor) -> None:
        self._parts.setdefault(name, []).append(part)

    def of(self, name: str) -> np.ndarray:
        return torch.cat(self._parts[name]).double().numpy()


def _of_others(store: Store, numbers: list[int], n_frames: int, clip: Clip) -> Clip:
    """``clip`` with the actions and positions of other sequences."""
    others = [store.rows(k, 0, n_frames) for k in numbers]

    def stack(part: str, width: int | None) -> Tensor | None:
        if width is None:
            return None
        return torch.from_numpy(np.stack([getattr(other, part) for other in others]))

    return Clip(
        clip.frames, stack("actions", store.action_dim), stack("positions", store.position_dim)
    )


def _false(name: str, clip: Clip, means: dict[str, Statistics | None]) -> Clip:
    def changed(part: Tensor | None, statistics: Statistics | None) -> Tensor | None:
        if part is None or name == "zeroed":
            return None if part is None else torch.zeros_like(part)
        assert statistics is not None
        return 2 * torch.from_numpy(statistics.mean).to(part.dtype) - part

    return Clip(
        clip.frames,
        changed(clip.actions, means["actions"]),
        changed(clip.positions, means["positions"]),
    )


def _imagine(
    model: Imagines,
    past: Tensor,
    truth: Tensor,
    told: Clip,
    noise: Tensor,
    inverse: Inverse | None,
    *,
    config: ModelConfig,
) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch steps kept"] | None]:
    """PSNR of one future of each sequence, and the actions that its frames show."""
    before, scores, actions = past[:, -1], [], []
    made = model.futures(
        past,
        told.actions if config.uses_actions else None,
        told.positions if config.uses_positions else None,
        noise=noise,
        n_future=truth.shape[1],
    )
    for _, t, frames in made:
        frame = frames[:, 0]
        scores.append(psnr(frame, truth[:, t]))
        if inverse is not None:
            actions.append(inverse.recover(before, frame))
            before = frame
    return torch.stack(scores).mean(0), torch.stack(actions, 1) if actions else None


def _recover(inverse: Inverse, before: Tensor, after: Tensor) -> Tensor:
    """[B, steps, kept] from frames [B, steps, 3, H, W] before and after each action."""
    flat = inverse.recover(before.flatten(0, 1), after.flatten(0, 1))
    return flat.unflatten(0, before.shape[:2])
