"""Does the model listen: what false conditions cost, and which actions its frames show."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from foreframe.config.model import ModelConfig
from foreframe.data.statistics import Statistics
from foreframe.data.store.batches import evaluation_batches
from foreframe.data.store.store import Store
from foreframe.evaluation.conditions import FalseConditions
from foreframe.evaluation.options import SequenceOptions
from foreframe.evaluation.sampling import Imagines, noise_of_batch
from foreframe.metrics import psnr
from foreframe.metrics.intervals import bootstrap_of_sums, numbered
from foreframe.model.clip import Clip
from foreframe.probe.inverse import Inverse
from foreframe.probe.result import Recovery

_VARIES = 1e-9
"""Sum of squares of standardised actions above which a column varies in the scored sequences."""


def r_squared(
    recovered: Float64[np.ndarray, "sequences steps columns"],
    wanted: Float64[np.ndarray, "sequences steps columns"],
    groups: Sequence[int] | None = None,
) -> Recovery:
    """Coefficient of determination, 1 - sum (a - a_recovered)^2 / sum (a - mean a)^2.

    1 is exact, 0 as good as always saying the mean of the scored actions, below 0 worse. The mean
    of a column is over all scored sequences and steps. Overall, both sums run over the columns as
    well, in standardised units, so that each counts by how much it varies here.

    Args:
        recovered: actions read from frames, standardised.
        wanted: what they should be, standardised alike.
        groups: the recording of each sequence, for the interval, see ``bootstrap``.
    """
    error = np.square(recovered - wanted)
    spread = np.square(wanted - wanted.mean((0, 1)))
    varies = spread.sum((0, 1)) > _VARIES
    if not varies.any():
        return Recovery(None, None, [None] * len(varies), [None] * wanted.shape[1])
    left, whole = error[..., varies].sum(-1), spread[..., varies].sum(-1)
    low, high = bootstrap_of_sums(left.sum(1), whole.sum(1), groups)
    return Recovery(
        float(1 - left.sum() / whole.sum()),
        (1 - high, 1 - low),
        _explained(error.sum((0, 1)), spread.sum((0, 1))),
        _explained(left.sum(0), whole.sum(0)),
    )


def _explained(errors: np.ndarray, spreads: np.ndarray) -> list[float | None]:
    return [float(1 - e / s) if s > _VARIES else None for e, s in zip(errors, spreads, strict=True)]


@dataclass(frozen=True)
class Heard:
    """What was measured.

    Attributes:
        psnr: mean over the predicted frames of each sequence, in dB, under each condition: "given"
            and the false ones that there are.
        recovered: R squared on "true" frames, on "predicted" ones, on "copy-last"; under permuted
            conditions against the actions that were given ("permuted") and against the recorded
            ones ("permuted, recorded"). Empty without an inverse model.
        groups: the recording of each sequence; None where each is one of its own.
    """

    psnr: dict[str, Float64[np.ndarray, " sequences"]]
    recovered: dict[str, Recovery]
    groups: list[int] | None = None


def listen(
    model: Imagines,
    config: ModelConfig,
    store: Store,
    inverse: Inverse | None,
    means: Mapping[str, Statistics | None],
    options: SequenceOptions,
    *,
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
        options: given and predicted frames, sequences and seed.
        batch_size: sequences at once.
        device: where to compute.
        progress: called with (sequences done, all).
    """
    n_past, n_frames, sequences = options.n_past, options.n_frames, options.count(len(store))
    false = FalseConditions(
        config, store, means, n_frames=n_frames, sequences=sequences, seed=options.seed
    )
    scores: dict[str, list[Tensor]] = {name: [] for name in ("given", *false.names)}
    seen, groups = _Seen(n_past), numbered(store.recordings[:sequences])
    done = 0
    for clip in evaluation_batches(
        store, n_frames=n_frames, batch_size=batch_size, limit=sequences
    ):
        indices = range(done, done + len(clip))
        noise = noise_of_batch(options.seed, indices, 1, n_frames, config.z_dim)
        x = clip.frames.to(device).float().div_(255)
        if inverse is not None:
            seen.add_recordings(inverse, x, clip)
        for name, score in scores.items():
            told = clip if name == "given" else false.of(name, indices, clip)
            shown = inverse if name in ("given", "permuted") else None
            value, actions = _imagine(model, config, x, n_past, told, noise, shown)
            score.append(value)
            if inverse is not None and actions is not None:
                seen.add_predictions(inverse, name, actions, clip, told)
        done += len(clip)
        progress(done, sequences)
    return Heard(
        {name: torch.cat(values).double().cpu().numpy() for name, values in scores.items()},
        seen.recovered(groups),
        groups,
    )


class _Seen:
    """Actions that frames show beside those that they should show, batch by batch.

    Args:
        n_past: given frames.
    """

    def __init__(self, n_past: int) -> None:
        self._n_past = n_past
        names = ("true", "predicted", "copy-last", "permuted", "permuted, recorded")
        self._pairs: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in names}

    def _wanted(self, inverse: Inverse, told: Clip) -> Tensor:
        """Actions that act between the predicted frames, standardised."""
        assert told.actions is not None
        return inverse.columns.standardised(told.actions[:, self._n_past - 1 : -1])

    def add_recordings(self, inverse: Inverse, x: Tensor, clip: Clip) -> None:
        """Frames as they were recorded, and the last given frame copied."""
        wanted = self._wanted(inverse, clip)
        truth = x[:, self._n_past :]
        still = x[:, self._n_past - 1 : self._n_past].expand_as(truth)
        self._pairs["true"].append((_recover(inverse, x[:, self._n_past - 1 : -1], truth), wanted))
        self._pairs["copy-last"].append((_recover(inverse, still, still), wanted))

    def add_predictions(
        self, inverse: Inverse, name: str, actions: Tensor, clip: Clip, told: Clip
    ) -> None:
        """Actions that the frames show under the "given" or the "permuted" condition."""
        own = self._wanted(inverse, clip)
        if name == "given":
            self._pairs["predicted"].append((actions, own))
        else:
            self._pairs["permuted"].append((actions, self._wanted(inverse, told)))
            self._pairs["permuted, recorded"].append((actions, own))

    def recovered(self, groups: Sequence[int] | None) -> dict[str, Recovery]:
        return {
            name: r_squared(
                torch.cat([recovered for recovered, _ in pairs]).double().numpy(),
                torch.cat([wanted for _, wanted in pairs]).double().numpy(),
                groups,
            )
            for name, pairs in self._pairs.items()
            if pairs
        }


def _imagine(
    model: Imagines,
    config: ModelConfig,
    x: Tensor,
    n_past: int,
    told: Clip,
    noise: Tensor,
    inverse: Inverse | None,
) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch steps kept"] | None]:
    """PSNR of one future of each sequence, and the actions that its frames show."""
    truth = x[:, n_past:]
    before, scores, actions = x[:, n_past - 1], [], []
    made = model.futures(
        x[:, :n_past],
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
