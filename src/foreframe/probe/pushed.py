"""How far objects that are pushed away are from the truth, beside what standing still would be."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from foreframe.metrics.intervals import bootstrap_of_sums
from foreframe.probe.result import Pushed

PUSHED = 6.0
"""Pixels that an object must move by, from the last given frame to the last predicted one."""


@dataclass(frozen=True)
class ScenePushed:
    """One scene with P pairs of an object and a held-out replay in which it is pushed away.

    Attributes:
        pairs: P.
        apart: distances to the true place in that replay at each of T steps, sums over the pairs,
            in pixels; by what they are of, see ``Pushed``.
    """

    pairs: int
    apart: dict[str, Float64[np.ndarray, " steps"]]


def scene_pushed(
    given: Float64[np.ndarray, "replays objects 2"],
    true: Float64[np.ndarray, "replays steps objects 2"],
    read_true: Float64[np.ndarray, "replays steps objects 2"],
    read_samples: Float64[np.ndarray, "samples steps objects 2"],
    read_given: Float64[np.ndarray, "one steps objects 2"],
) -> ScenePushed:
    """Measure the pushed objects of a scene in all its held-out replays, two at least.

    Only objects that the readout knows can be read, those that count: an object that goes the same
    way under every physics is not among them.

    Args:
        given: places in the held-out replays' last given frame, in pixels.
        true: places in the held-out replays' later frames.
        read_true: the same, as read from the frames.
        read_samples: as read from the samples' frames.
        read_given: as read from the last given frame, copied.
    """
    replay, thing = (np.linalg.norm(true[:, -1] - given, axis=-1) > PUSHED).nonzero()
    truth = true[replay, :, thing].swapaxes(0, 1)

    def apart(places: np.ndarray) -> Float64[np.ndarray, "any steps pairs"]:
        return np.asarray(np.linalg.norm(places - truth, axis=-1))

    own = read_true[replay, :, thing].swapaxes(0, 1)
    others, samples = read_true[:, :, thing], read_samples[:, :, thing]
    rest = len(true) - 1
    distances = {
        "error": apart(samples).mean(0),
        "error_of_mean": apart(samples.mean(0)),
        "readout_error": apart(own),
        "still": apart(given[replay, thing]),
        "copied": apart(read_given[0][:, thing]),
        # Every other replay in turn: a draw of what could have happened, and not the truth.
        "physics": (apart(others).sum(0) - apart(own)) / rest,
        "physics_of_mean": apart((others.sum(0) - own) / rest),
    }
    return ScenePushed(len(replay), {name: d.sum(-1) for name, d in distances.items()})


def pushed_objects(scenes: list[ScenePushed]) -> Pushed | None:
    """All scenes together; None if no object is pushed away in any of them."""
    scenes = [scene for scene in scenes if scene.pairs]
    if not scenes:
        return None
    counts = [scene.pairs for scene in scenes]
    per_step = {
        name: (np.stack([scene.apart[name] for scene in scenes]).sum(0) / sum(counts)).tolist()
        for name in scenes[0].apart
    }
    last = {name: [scene.apart[name][-1] for scene in scenes] for name in per_step}
    intervals = {name: bootstrap_of_sums(sums, counts) for name, sums in last.items()}
    for ratio, error in (("ratio", "error"), ("ratio_of_mean", "error_of_mean")):
        intervals[ratio] = bootstrap_of_sums(last[error], last["still"])
    at_last = {name: curve[-1] for name, curve in per_step.items()}
    return Pushed(
        least=PUSHED,
        scenes=len(scenes),
        pairs=sum(counts),
        **at_last,
        ratio=at_last["error"] / at_last["still"],
        ratio_of_mean=at_last["error_of_mean"] / at_last["still"],
        intervals=intervals,
        per_step=per_step,
    )
