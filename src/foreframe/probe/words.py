"""From the numbers of a probe to what they mean; nothing is said that they do not show."""

from collections.abc import Iterator
from typing import Any

_LEAST_CEILING = 0.2
"""R squared on true frames below which predicted ones cannot be judged by it."""

_LEAST_READOUT = 0.5
"""Share of the variance of positions that the readout must explain."""


def words(listening: dict[str, Any], spread: dict[str, Any]) -> list[str]:
    """What was found, a sentence each.

    Args:
        listening: as in ``probe.json``.
        spread: likewise.
    """
    return [*_costs(listening), *_actions(listening), *_spread(spread)]


def _costs(listening: dict[str, Any]) -> Iterator[str]:
    costs = listening["costs"]
    if not costs:
        yield "The model has no condition to listen to."
        return
    told = listening["condition"]
    for name, cost in costs.items():
        said = f"{name.capitalize()} {told}: {cost['mean']:+.2f} dB of PSNR lost, {_span(cost)}"
        if listening["sequences"] < 2:
            yield f"{said}; one sequence shows nothing more."
        elif not cost["separable"]:
            yield f"{said}: not separable from 0 with {listening['sequences']} sequences."
        elif cost["mean"] > 0:
            yield f"{said}: the model listens."
        else:
            yield f"{said}: false ones predict better than the true ones."


def _actions(listening: dict[str, Any]) -> Iterator[str]:
    actions = listening["actions"]
    if actions is None:
        yield f"Actions recovered from frames: n/a, {listening['why_no_actions']}."
        return
    if actions["constant"]:
        listed = ", ".join(str(k) for k in actions["constant"])
        yield (
            f"Of the {actions['width']} numbers of an action, those that never change in the "
            f"training split are left out: {listed}."
        )
    recovered = actions["recovered"]
    true, predicted = recovered["true"], recovered["predicted"]
    if true["overall"] is None:
        yield "The actions do not vary in these sequences: none to recover."
        return
    if true["overall"] < _LEAST_CEILING:
        yield (
            f"True frames show the actions with R² {true['overall']:.2f} only: too little to judge "
            "predicted frames by."
        )
        return
    yield (
        f"Actions recovered: R² {predicted['overall']:.2f} ({_span(predicted)}) from predicted "
        f"frames, {true['overall']:.2f} from true ones."
    )
    if "shuffled" in recovered and recovered["shuffled"]["overall"] is not None:
        given, recorded = recovered["shuffled"], recovered["shuffled, recorded"]
        numbers = f"R² {given['overall']:.2f} against {recorded['overall']:.2f}"
        if given["interval"][0] > max(recorded["interval"][1], 0):
            yield (
                "Under another sequence's actions the frames show the given ones, not the "
                f"recorded ones: {numbers}."
            )
        else:
            yield (
                "Under another sequence's actions the frames do not show the given ones better "
                f"than the recorded ones, or not at all: {numbers}."
            )


def _spread(spread: dict[str, Any]) -> Iterator[str]:
    deviation = spread["pixels"]["samples"]
    last = len(deviation)
    said = f"At step {last} a pixel deviates by {255 * deviation[-1]:.1f} of 255 over the samples"
    if spread["pixels"]["physics"] is not None:
        said += f" and by {255 * spread['pixels']['physics'][-1]:.1f} over the physics"
    yield f"{said} (root mean square)."
    found = spread["calibration"]
    if found is None:
        yield f"Calibration: n/a, {spread['why_no_calibration']}"
        return
    ratio, interval = found["ratio"][-1], found["ratio_interval"][-1]
    if ratio is None:
        yield f"At step {last} the physics has hardly moved anything: no calibration to speak of."
        return
    low, high = interval
    said = (
        f"Samples spread {100 * ratio:.0f} % ({100 * low:.0f} to {100 * high:.0f} %) as much as "
        f"the physics does at step {last}"
    )
    if found["scenes"] < 2:
        yield f"{said}; one scene shows nothing more."
    elif high < 1:
        yield f"{said}: overconfident."
    elif low > 1:
        yield f"{said}: underconfident."
    else:
        yield f"{said}: not separable from calibrated with {found['scenes']} scenes."
    yield (
        f"The truth lies in the samples' central {100 * found['coverage_nominal']:.0f} % in "
        f"{100 * found['coverage'][-1]:.0f} % of all cases at step {last}."
    )
    if found["readout_r2"][-1] < _LEAST_READOUT:
        yield (
            f"Mind: the readout explains {100 * found['readout_r2'][-1]:.0f} % of the variance of "
            "true positions at that step; more --replays read better."
        )


def _span(found: dict[str, Any]) -> str:
    low, high = found["interval"]
    return f"{low:.2f} to {high:.2f}"
