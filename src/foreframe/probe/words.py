"""What the numbers of a probe mean; nothing is said that they do not show."""

from collections.abc import Iterator

from foreframe.probe.pushed import PUSHED
from foreframe.probe.result import (
    BORROWED,
    MEAN_ACTION,
    RANDOM_POINT,
    Actions,
    Calibration,
    Cost,
    Landscape,
    Listening,
    Nearer,
    Pixels,
    Pushed,
    Recovery,
    Spreading,
)

_LEAST_CEILING = 0.2
"""R squared on true frames below which predicted ones cannot be judged by it."""

_LEAST_READOUT = 0.5
"""Share of the variance of positions that the readout must explain."""


def words(
    listening: Listening,
    spread: Spreading,
    landscape: Landscape | None = None,
    why_no_landscape: str | None = None,
) -> list[str]:
    """The answers, a sentence each.

    Args:
        listening: what false conditions cost, and which actions frames show.
        spread: of the samples and of the physics.
        landscape: what actions around the true ones cost; None if it was not measured.
        why_no_landscape: the reason, if it could not be measured.
    """
    said = [*_costs(listening)]
    if listening.actions is None:
        said.append(f"Actions recovered from frames: n/a, {listening.why_no_actions}.")
    else:
        said += _actions(listening.actions)
    if landscape is not None:
        said += _landscape(landscape)
    elif why_no_landscape is not None:
        said.append(f"Landscape of actions: n/a, {why_no_landscape}")
    said.append(_pixels(spread.pixels))
    if spread.calibration is None:
        said.append(f"Calibration: n/a, {spread.why_no_calibration}")
    else:
        said += _calibration(spread.calibration)
        said += _pushed(spread.calibration)
    return said


def _costs(listening: Listening) -> Iterator[str]:
    if not listening.costs:
        yield "The model has no condition to listen to."
    for name, cost in listening.costs.items():
        lost = f"{cost.mean:+.2f} dB of PSNR lost, {_span(cost.interval)}"
        yield (
            f"{name.capitalize()} {listening.condition}: {lost}"
            f"{_cost_verdict(cost, listening.sequences)}."
        )


def _cost_verdict(cost: Cost, sequences: int) -> str:
    if sequences < 2:
        return "; one sequence shows nothing more"
    if not cost.separable:
        return f": not separable from 0 with {sequences} sequences"
    if cost.mean > 0:
        return ": the model listens"
    return ": false ones predict better than the true ones"


def _actions(actions: Actions) -> Iterator[str]:
    if actions.constant:
        listed = ", ".join(str(k) for k in actions.constant)
        yield (
            f"Of the {actions.width} numbers of an action, those that never change in the "
            f"training split are left out: {listed}."
        )
    true, predicted = (actions.recovered[name] for name in ("true", "predicted"))
    if true.overall is None or predicted.overall is None:
        yield "The actions do not vary in these sequences: none to recover."
        return
    if true.overall < _LEAST_CEILING:
        yield (
            f"True frames show the actions with R² {true.overall:.2f} only: too little to judge "
            "predicted frames by."
        )
        return
    yield (
        f"Actions recovered: R² {predicted.overall:.2f} ({_span(predicted.interval)}) from "
        f"predicted frames, {true.overall:.2f} from true ones."
    )
    given, recorded = (actions.recovered.get(name) for name in ("permuted", "permuted, recorded"))
    if given is not None and recorded is not None and given.interval and recorded.interval:
        yield _permuted(given, recorded)


def _permuted(given: Recovery, recorded: Recovery) -> str:
    assert given.interval is not None
    assert recorded.interval is not None
    shown = given.interval[0] > max(recorded.interval[1], 0)
    return (
        "Under another sequence's actions the frames "
        + (
            "show the given ones, not the recorded ones"
            if shown
            else "do not show the given ones better than the recorded ones, or not at all"
        )
        + f": R² {given.overall:.2f} against {recorded.overall:.2f}."
    )


def _landscape(landscape: Landscape) -> Iterator[str]:
    first, second = landscape.columns
    starts = len(landscape.starts)
    frames = "frame" if landscape.frames == 1 else "frames"
    yield (
        f"Of offsets to numbers {first} and {second} of the actions over {landscape.frames} "
        f"{frames}, the one whose last frame is nearest to what followed is "
        f"{landscape.least.mean:.2f} ({_span(landscape.least.interval)}) standard deviations from "
        f"the true action (points are {2 * landscape.reach / (landscape.side - 1):.2f} apart); in "
        f"{landscape.at_truth} of {starts} starts it is the true action itself."
    )
    if landscape.at_edge:
        yield (
            f"In {landscape.at_edge} of {starts} starts it lies at the edge of the grid: the least "
            "may be beyond."
        )
    yield (
        f"A random point of the grid is {landscape.chance:.2f} from it, the mean action "
        f"{landscape.mean_action.mean:.2f}{_landscape_verdict(landscape)}."
    )
    other = landscape.nearer.get(BORROWED)
    if landscape.borrowed is not None and other is not None:
        yield (
            "With another recording's actions in the middle of the grid, the minimum is "
            f"{landscape.borrowed.mean:.2f} ({_span(landscape.borrowed.interval)}) from the middle"
            f"{_borrowed_verdict(landscape, other)}."
        )


def _landscape_verdict(landscape: Landscape) -> str:
    starts = len(landscape.starts)
    if starts < 2:
        return "; one start shows nothing more"
    found = {name: landscape.nearer[name] for name in (RANDOM_POINT, MEAN_ACTION)}
    nearer = [name for name, gain in found.items() if gain.separable and gain.mean > 0]
    farther = [name for name, gain in found.items() if gain.separable and gain.mean < 0]
    open_ = [name for name, gain in found.items() if not gain.separable]
    said = []
    if nearer:
        said.append(f"the minimum is nearer than {' and '.join(nearer)}")
    if farther:
        said.append(f"the minimum is farther than {' and '.join(farther)}")
    if open_:
        said.append(f"it is not separable from {' and '.join(open_)} with {starts} starts")
    return f": {', '.join(said)}"


def _borrowed_verdict(landscape: Landscape, other: Nearer) -> str:
    if len(landscape.starts) < 2:
        return ""
    if not other.separable:
        return ": not separable from that with the true ones there"
    if other.mean > 0:
        return ", so being in the middle does not explain it"
    return ", nearer than with the true ones there"


def _pixels(pixels: Pixels) -> str:
    assert pixels.samples is not None
    last = len(pixels.samples)
    said = (
        f"At step {last} a pixel deviates by {255 * pixels.samples[-1]:.1f} of 255 over the samples"
    )
    if pixels.physics is not None:
        said += f" and by {255 * pixels.physics[-1]:.1f} over the physics"
    return f"{said} (root mean square)."


def _calibration(calibration: Calibration) -> Iterator[str]:
    last = len(calibration.ratio)
    ratio, interval = calibration.ratio[-1], calibration.ratio_interval[-1]
    if ratio is None or interval is None:
        yield f"At step {last} the physics has hardly moved anything: no calibration to speak of."
        return
    low, high = interval
    yield (
        f"Samples spread {100 * ratio:.0f} % ({100 * low:.0f} to {100 * high:.0f} %) as much as "
        f"the physics does at step {last}{_spread_verdict(low, high, calibration.scenes)}."
    )
    yield (
        f"The truth lies in the samples' central {100 * calibration.coverage_nominal:.0f} % in "
        f"{100 * calibration.coverage[-1]:.0f} % of all cases at step {last}."
    )
    if calibration.readout_r2[-1] < _LEAST_READOUT:
        yield (
            f"Mind: the readout explains {100 * calibration.readout_r2[-1]:.0f} % of the variance "
            "of true positions at that step; more --replays make it more accurate."
        )


def _spread_verdict(low: float, high: float, scenes: int) -> str:
    if scenes < 2:
        return "; one scene shows nothing more"
    if high < 1:
        return ": overconfident"
    if low > 1:
        return ": underconfident"
    return f": not separable from calibrated with {scenes} scenes"


def _pushed(calibration: Calibration) -> Iterator[str]:
    pushed = calibration.pushed
    if pushed is None:
        yield (
            f"No object that the readout knows moves by more than {PUSHED:.0f} pixels in these "
            "scenes: there are no pushed objects to compare with standing still."
        )
        return
    last = len(calibration.ratio)
    pairs = "case" if pushed.pairs == 1 else "cases"
    scenes = "scene" if pushed.scenes == 1 else "scenes"
    yield (
        f"Pushed objects (moved by more than {pushed.least:.0f} pixels up to step {last}: "
        f"{pushed.pairs} {pairs} in {pushed.scenes} {scenes}) are read from the samples "
        f"{pushed.error:.1f} pixels from the truth; standing still they would be "
        f"{pushed.still:.1f} pixels from it."
    )
    yield (
        f"That is {_times(pushed, 'ratio')} the error of standing still"
        f"{_pushed_verdict(pushed)}; the mean of the samples has "
        f"{_times(pushed, 'ratio_of_mean')}."
    )
    yield (
        "Right samples would be as far from the truth as other replays of the same scenes: "
        f"{pushed.physics:.1f} pixels, and {pushed.physics_of_mean:.1f} by their mean. The "
        f"readout's own error on true frames is {pushed.readout_error:.1f} pixels."
    )


def _times(pushed: Pushed, name: str) -> str:
    return f"{getattr(pushed, name):.2f} times ({_span(pushed.intervals[name])})"


def _pushed_verdict(pushed: Pushed) -> str:
    low, high = pushed.intervals["ratio"]
    if pushed.scenes < 2:
        return ", and one scene shows nothing more"
    if high < 1:
        return ", so the samples are nearer"
    if low > 1:
        return ", so the samples are farther away"
    return f", not separable from it with {pushed.scenes} scenes"


def _span(interval: tuple[float, float] | None) -> str:
    return "n/a" if interval is None else f"{interval[0]:.2f} to {interval[1]:.2f}"
