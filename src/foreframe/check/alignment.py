"""Whether ``action[t]`` goes with the change from frame t to t + 1, or with another one.

For each lag L from -2 to 2 it is measured how well ``action[t]`` and the change from t + L to
t + L + 1 predict one another in recordings that the fit has not seen: once for the recorded
positions, once for the motion in the images. The best lag should be 0. What chance reaches is
measured with the actions of other recordings; whether the best lag is really better than the next
is measured by drawing the recordings again, with replacement (Efron 1979).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from foreframe.check.excerpt import LAGS, SHORTEST, Excerpt, cut, groups
from foreframe.check.matching import state_columns
from foreframe.check.onset import onset
from foreframe.check.others import Others, others
from foreframe.check.ridge import RIDGE, STEADIER, Errors, held_out_errors
from foreframe.check.ways import Way, camera_way, changes_of, from_images, from_positions

FEWEST = 8
"""Recordings, or stretches of few long ones, below which nothing is said."""

_CHANCES = 20
_DRAWS = 1000
_SURE = 0.99
_LEAST = 0.02
_ALIKE = 0.95
"""Part of the best R squared from which on another lag is as good: the difference may come from
what the recordings have in common and not from the lag."""

_LEFT = 2.0
"""... unless it leaves more than so many times as much unexplained as the best."""

_NOISE = 1.3
"""For targets, another lag is as good if it leaves up to so many times as much: noise of the
positions is in both the way to go and the way that was gone, and favours other lags."""

_LATE = 0.6
"""Part of the best R squared that lag 0 reaches where a robot merely answers late."""

_LATE_LEFT = {"positions": 0.5, "images": 0.25, "camera": 0.25}
"""Part of what lag 0 leaves unexplained that the best lag then still leaves."""

_CLEARLY = 0.05

_COVERED = 0.3
"""R squared from which on the other columns of the actions explain a motion without the states."""

Kind = Literal["positions", "images", "camera"]
Verdict = Literal["aligned", "shifted", "cannot be told", "no link"]


@dataclass(frozen=True)
class Link:
    """How the actions go together with one kind of change.

    Attributes:
        kind: "positions" or "images"; "camera" for the images against the positions.
        measure: what predicts what, in words.
        lags: L: ``action[t]`` against the change from t + L to t + L + 1.
        r2: R squared of each lag, on held-out recordings.
        chance: what the best lag reaches with the actions of other recordings.
        columns: the columns of positions or actions that are predicted at all; ``r2`` is theirs.
        best: the lag with the greatest ``r2``; of several that are as good, that at which the
            motion begins, if it can be told.
        confidence: share of 1,000 draws of the recordings in which its ``r2`` was the greatest.
        plausible: lags that were the best in more than 1 % of the draws, or come within 5 % of the
            best's ``r2`` and leave no more than twice as much unexplained: held and smooth actions
            go nearly as well with neighbouring changes. With lag 0 where a robot may merely
            answer late.
        verdict: "aligned", "shifted" (``best`` is not 0), "cannot be told" or "no link".
    """

    kind: Kind
    measure: str
    lags: tuple[int, ...]
    r2: tuple[float, ...]
    chance: float
    columns: tuple[int, ...]
    best: int
    confidence: float
    plausible: tuple[int, ...]
    verdict: Verdict

    @property
    def sure(self) -> bool:
        """Whether the lag can be told."""
        return self.verdict in ("aligned", "shifted")


@dataclass(frozen=True)
class Alignment:
    """What was measured.

    Attributes:
        sequences: recordings that it was measured on.
        of: recordings that there are.
        links: one for the positions, if there are any, and one for the images.
        states: columns of the actions that are no commands but states, and were left out.
        camera: how the images go with the positions, if the two links are sure of different lags.
        others: recordings whose rows lie at another lag than the rest's; None if there are none.
    """

    sequences: int
    of: int
    links: tuple[Link, ...]
    states: tuple[int, ...] = ()
    camera: Link | None = None
    others: Others | None = None


@dataclass(frozen=True)
class _Fit:
    way: Way
    ridge: float
    errors: Errors

    @property
    def score(self) -> float:
        return float(self.errors.explained().max(0).clip(0).mean())


def align(excerpts: list[Excerpt], of: int, seed: int) -> Alignment | None:
    """Measure the alignment; None if there are too few recordings, or none with six frames.

    Args:
        excerpts: excerpts of different recordings, all with or without positions.
        of: recordings that there are, to be told.
        seed: seed of the permutations and draws.
    """
    usable = cut([excerpt for excerpt in excerpts if len(excerpt.motion) + 1 >= SHORTEST])
    numbers = groups(usable)
    if not len(numbers) or numbers[-1] + 1 < FEWEST:
        return None
    random = np.random.default_rng((seed, 5))
    commands = np.arange(usable[0].actions.shape[1])
    states: tuple[int, ...] = ()
    measured: list[tuple[Link, _Fit]] = []
    if all(excerpt.positions is not None for excerpt in usable):
        by_positions = _by_positions(usable, numbers, random)
        if by_positions is not None:
            link, fit, states = by_positions
            commands = np.setdiff1d(commands, states)
            link = _begun(link, fit, usable, commands, numbers, random)
            measured.append((_answered(link), fit))
    by_images = _by_images(usable, numbers, commands)
    if by_images is not None:
        fit, seen = by_images
        states = tuple(sorted({*states, *seen}))
        measured.append((_answered(_link("images", fit, numbers, random)), fit))
    if not measured:
        return None
    links = tuple(link for link, _ in measured)
    camera = None
    if len({link.best for link in links if link.sure}) > 1:
        # The robot may answer late to targets, or the pictures may be late.
        camera = _link("camera", _fitted(camera_way(usable), numbers), numbers, random)
    return Alignment(len(usable), of, links, states, camera, _others(measured, usable))


def _others(measured: list[tuple[Link, _Fit]], excerpts: list[Excerpt]) -> Others | None:
    """By the first link that explains anything."""
    for link, fit in measured:
        if link.verdict != "no link":
            start = 0 if 0 in link.plausible else link.best
            way = fit.way.only(np.isin(fit.way.columns, link.columns))
            return others(way, excerpts, start=start, ridge=fit.ridge)
    return None


def _by_positions(
    excerpts: list[Excerpt], numbers: np.ndarray, random: np.random.Generator
) -> tuple[Link, _Fit, tuple[int, ...]] | None:
    """The link with the positions, and the columns of the actions that are states."""
    every = np.arange(excerpts[0].actions.shape[1])
    states = state_columns(excerpts)
    commands = np.setdiff1d(every, list(states))
    if states and len(commands):
        # What repeats the positions may be a command that is carried out exactly. It is a state
        # if the other columns say where the robot goes.
        fit = _best(from_positions(excerpts, commands), numbers)
        if fit is not None:
            link = _link("positions", fit, numbers, random)
            if link.verdict != "no link" and _covers(fit, set(states.values())):
                return link, fit, tuple(sorted(states))
    fit = _best(from_positions(excerpts, every), numbers)
    return None if fit is None else (_link("positions", fit, numbers, random), fit, ())


def _covers(fit: _Fit, columns: set[int]) -> bool:
    """Whether the motion of these columns of the positions is explained."""
    which = np.isin(fit.way.columns, list(columns))
    return bool(which.any()) and bool((fit.errors.explained().max(0)[which] > _COVERED).all())


def _by_images(
    excerpts: list[Excerpt], numbers: np.ndarray, commands: np.ndarray
) -> tuple[_Fit, tuple[int, ...]] | None:
    """The best fit of the images, and the columns that are seen to be states.

    Some columns may say how the robot moves and others where it is: a place at frame t has
    changed from t - 1 to t, one change before the one that a command of row t goes with.
    """
    ways = list(from_images(excerpts, commands))
    motions, places = (_fitted(way, numbers) if len(way.columns) else None for way in ways)
    if motions is None or places is None:
        fit = motions or places
        return None if fit is None else (fit, ())
    moved, placed = (
        dict(zip(fit.way.columns.tolist(), fit.errors.explained().max(0), strict=True))
        for fit in (motions, places)
    )
    commanding = [k for k, r2 in moved.items() if r2 > max(_COVERED, placed.get(k, 0) - _CLEARLY)]
    placing = [k for k, r2 in placed.items() if r2 > max(_COVERED, moved.get(k, 0) + _CLEARLY)]
    if commanding and placing:
        best = [
            LAGS[int(fit.errors.pooled(np.flatnonzero(np.isin(fit.way.columns, which))).argmax())]
            for fit, which in ((motions, commanding), (places, placing))
        ]
        if best[1] == best[0] - 1:
            only = motions.way.only(~np.isin(motions.way.columns, placing))
            return _fitted(only, numbers), tuple(placing)
    return (places if places.score > motions.score + _CLEARLY else motions), ()


def _best(ways: Iterable[Way], numbers: np.ndarray) -> _Fit | None:
    """The first way of measuring, unless a later one predicts clearly better; None without any."""
    best: _Fit | None = None
    for way in ways:
        if len(way.columns):
            fit = _fitted(way, numbers)
            if best is None or fit.score > best.score + _CLEARLY:
                best = fit
    return best


def _fitted(way: Way, numbers: np.ndarray) -> _Fit:
    """The regression, a steadier one if there are too few rows for its inputs."""
    fit, steadier = (
        _Fit(way, ridge, held_out_errors(way.inputs, way.outputs, numbers, ridge))
        for ridge in (RIDGE, STEADIER)
    )
    return steadier if steadier.score > fit.score + _CLEARLY else fit


def _link(kind: Kind, fit: _Fit, numbers: np.ndarray, random: np.random.Generator) -> Link:
    way, errors = fit.way, fit.errors
    by_chance = [
        held_out_errors(*way.exchanged(numbers, random), numbers, fit.ridge)
        for _ in range(_CHANCES)
    ]
    predicted = _beyond_chance(errors, by_chance)
    columns = np.flatnonzero(predicted) if predicted.any() else np.arange(len(way.columns))
    r2 = errors.pooled(columns)
    best = int(r2.argmax())
    wins = _wins(errors.left[:, :, columns].sum(2), random)
    plausible = tuple(
        lag
        for lag, share, value in zip(LAGS, wins, r2, strict=True)
        if share > 1 - _SURE or _alike(value, r2[best], way.places)
    )
    return Link(
        kind=kind,
        measure=way.measure,
        lags=LAGS,
        r2=tuple(float(value) for value in r2),
        chance=max(0.0, *(float(chance.pooled(columns).max()) for chance in by_chance)),
        columns=tuple(int(way.columns[k]) for k in columns),
        best=LAGS[best],
        confidence=float(wins[best]),
        plausible=plausible,
        verdict=_verdict(bool(predicted.any()), plausible, LAGS[best]),
    )


def _begun(
    link: Link,
    fit: _Fit,
    excerpts: list[Excerpt],
    commands: np.ndarray,
    numbers: np.ndarray,
    random: np.random.Generator,
) -> Link:
    """The link with the lag at which the motion begins, if several lags are as good.

    Not for targets: on the way to one, the robot moves with all that were given before.
    """
    if link.verdict != "cannot be told" or fit.way.places:
        return link
    changes = changes_of(excerpts)[:, list(link.columns)]
    begins = onset(excerpts, commands, changes, numbers, random)
    if begins not in link.plausible:
        return link
    return replace(
        link, best=begins, plausible=(begins,), verdict="shifted" if begins else "aligned"
    )


def _alike(r2: float, best: float, places: bool) -> bool:
    left = (1 - r2) / max(1 - best, 1e-12)
    return (r2 >= _ALIKE * best and left <= _LEFT) or (places and left <= _NOISE)


def _answered(link: Link) -> Link:
    """The link with lag 0, if it may be no more than that the robot answers over several frames.

    Then the change at once goes nearly as well with the action. Rows that were moved go far
    better with the change that they belong to, and pixels must say so the more clearly.
    """
    zero, best = (link.r2[link.lags.index(one)] for one in (0, link.best))
    left = _LATE_LEFT[link.kind] * (1 - zero)
    if link.verdict == "no link" or link.best <= 0 or zero < _LATE * best or 1 - best <= left:
        return link
    plausible = tuple(lag for lag in LAGS if 0 <= lag <= link.best or lag in link.plausible)
    return replace(link, plausible=plausible, verdict="cannot be told")


def _beyond_chance(errors: Errors, by_chance: list[Errors]) -> np.ndarray:
    """[columns], whether a column is predicted better than with the actions of others."""
    reached = np.stack([chance.explained().max(0) for chance in by_chance])
    needed = reached.mean(0) + np.maximum(6 * reached.std(0), _LEAST)
    return np.asarray(errors.explained().max(0) > np.maximum(needed, _LEAST))


def _verdict(predicted: bool, plausible: tuple[int, ...], best: int) -> Verdict:
    if not predicted:
        return "no link"
    if len(plausible) > 1:
        return "cannot be told"
    return "shifted" if best else "aligned"


def _wins(errors: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """How often each lag has the smallest error, if recordings are drawn with replacement."""
    count = errors.shape[1]
    draws = random.multinomial(count, np.full(count, 1 / count), _DRAWS)
    best = (draws @ errors.T).argmin(1)
    return np.bincount(best, minlength=len(errors)) / _DRAWS
