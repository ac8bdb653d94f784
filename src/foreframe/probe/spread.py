"""Do the samples spread as the hidden physics does: replays and samples of the same scenes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from foreframe.config.model import ModelConfig
from foreframe.data.recording import Fit, Recording
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.evaluation.sampling import AT_ONCE, Imagines, sequence_noise
from foreframe.probe.calibrate import SceneSpread, counting_objects, scene_spread
from foreframe.probe.moments import Moments
from foreframe.probe.readout import Readout
from foreframe.simulator.replay import Replay, Simulation
from foreframe.system.workers import side_by_side
from foreframe.visuals import SpreadMap

REVEALED = 1.0
"""An object that moves by more pixels than this within the given frames betrays its physics."""

TOLD = 2.0
"""Pixels that some object must move by in the predicted frames: else there is nothing to spread."""


@dataclass
class Spread:
    """What was measured over S sequences at T steps.

    Attributes:
        sequences: their names.
        sample_variance: [S, T], of a pixel over the samples, mean over the frame.
        physics_variance: [S, T], over the replays; empty without a simulator.
        scenes: positions; likewise.
        maps: of the first sequences.
        passed_over: names of scenes that were not used since an object had been touched in the
            given frames, or none was touched at all.
    """

    sequences: list[str] = field(default_factory=list)
    sample_variance: list[np.ndarray] = field(default_factory=list)
    physics_variance: list[np.ndarray] = field(default_factory=list)
    scenes: list[SceneSpread] = field(default_factory=list)
    maps: list[SpreadMap] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Plan:
    """What is to be measured.

    Attributes:
        n_past: given frames.
        n_future: predicted frames.
        samples: futures K of each sequence.
        seed: of z.
        maps: sequences whose maps are kept.
    """

    n_past: int
    n_future: int
    samples: int
    seed: int
    maps: int

    @property
    def n_frames(self) -> int:
        return self.n_past + self.n_future


@torch.no_grad()
def spread_of_samples(
    model: Imagines,
    config: ModelConfig,
    store: Store,
    numbers: list[int],
    plan: Plan,
    *,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Spread:
    """Of data that cannot be replayed: how far apart the samples are, pixel by pixel.

    Args:
        model: a ``VideoCVAE`` or anything that yields futures as it does.
        config: what it is conditioned on, and the width of z.
        store: the split.
        numbers: of the sequences.
        plan: what is to be measured.
        device: where to compute.
        progress: called with (sequences done, all).
    """
    spread = Spread()
    for done, number in enumerate(numbers):
        moments = _sample(model, config, store, number, plan, device, None)[0]
        spread.sequences.append(store.names[number])
        _add_pixels(spread, store, number, plan, moments, None)
        progress(done + 1, len(numbers))
    return spread


@torch.no_grad()
def spread_of_physics(
    model: Imagines,
    config: ModelConfig,
    store: Store,
    simulation: Simulation,
    split: str,
    numbers: list[int],
    plan: Plan,
    *,
    replays: int,
    workers: int | None = None,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Spread:
    """Of simulated data: samples beside replays of the same scene under other hidden physics.

    Of the replays every second is for the fit of the readout, and the others are compared with.

    Args:
        model: see ``spread_of_samples``, as for the others.
        config: of the model.
        store: the split.
        simulation: that it was made by.
        split: its name.
        numbers: of the scenes, of ``choose_scenes``.
        plan: what is to be measured.
        replays: P of each scene, at least 4.
        workers: processes that simulate; every available core by default.
        device: where to compute.
        progress: called with (replays done, all).
    """
    spread = Spread()
    jobs = [
        _Job(simulation, split, _own_number(store, k), physics, plan.n_frames, (scene, physics - 1))
        for scene, k in enumerate(numbers)
        for physics in range(1, replays + 1)
    ]
    there: dict[int, dict[int, Replay]] = {}
    found: dict[int, tuple[Moments, Moments, SceneSpread]] = {}
    with side_by_side(_replay, jobs, workers=workers) as results:
        for done, ((scene, place), replay) in enumerate(results):
            own = there.setdefault(scene, {})
            own[place] = replay
            if len(own) == replays:
                ordered = [own[k] for k in range(replays)]
                del there[scene]
                number = numbers[scene]
                found[scene] = _measure_scene(model, config, store, number, plan, device, ordered)
            progress(done + 1, len(jobs))
    for scene, number in enumerate(numbers):
        of_samples, of_physics, positions = found.pop(scene)
        spread.sequences.append(store.names[number])
        spread.scenes.append(positions)
        _add_pixels(spread, store, number, plan, of_samples, of_physics)
    return spread


def choose_scenes(
    store: Store, simulation: Simulation, split: str, count: int, plan: Plan
) -> tuple[list[int], list[str]]:
    """The first scenes whose future is open and not told by the given frames.

    By the sequence's own physics: no object moves by more than ``REVEALED`` pixels in the given
    frames, and one by ``TOLD`` at least in the whole.

    Args:
        store: the split.
        simulation: that it was made by.
        split: its name.
        count: scenes that are wanted.
        plan: what is to be measured.

    Returns:
        their numbers, fewer than ``count`` if the split has no more, and the names of those that
        were passed over.

    Raises:
        ForeframeError: a sequence does not come out of the simulator as it was recorded.
    """
    chosen: list[int] = []
    passed: list[str] = []
    for number in range(len(store)):
        if len(chosen) == count:
            break
        own = simulation.replay(split, _own_number(store, number), 0, frames=plan.n_frames)
        recorded = store.rows(number, 0, plan.n_frames).frames
        if not np.array_equal(_fitted(own.frames, store), recorded):
            raise ForeframeError(
                f"{store.source / store.names[number]}: the simulator makes other frames of it "
                "than were recorded (another version of MuJoCo, or changed files). Simulate the "
                "data again."
            )
        moved = np.linalg.norm(own.pixels - own.pixels[:1], axis=-1)
        if moved[: plan.n_past].max() <= REVEALED and moved.max() >= TOLD:
            chosen.append(number)
        else:
            passed.append(store.names[number])
    return chosen, passed


def _own_number(store: Store, number: int) -> int:
    """A sequence's number in the simulator: the last part of its name."""
    last = store.names[number].rsplit("/", 1)[-1]
    if not last.isdecimal():
        raise ForeframeError(f"{store.source / store.names[number]}: is not a simulated sequence.")
    return int(last)


def _fitted(frames: np.ndarray, store: Store) -> np.ndarray:
    fit = Fit(store.size[0])
    return frames if frames.shape[1] == store.size[0] else np.stack([fit(x) for x in frames])


@dataclass(frozen=True)
class _Job:
    simulation: Simulation
    split: str
    number: int
    physics: int
    frames: int
    key: tuple[int, int]


def _replay(job: _Job) -> tuple[tuple[int, int], Replay]:
    replay = job.simulation.replay(job.split, job.number, job.physics, frames=job.frames)
    return job.key, replay


def _measure_scene(
    model: Imagines,
    config: ModelConfig,
    store: Store,
    number: int,
    plan: Plan,
    device: torch.device | str,
    replays: list[Replay],
) -> tuple[Moments, Moments, SceneSpread]:
    future = slice(plan.n_past, plan.n_frames)
    frames = np.stack([_fitted(replay.frames[future], store) for replay in replays])
    # As the camera of the model's frames sees them.
    scale = store.size[0] / replays[0].frames.shape[1]
    pixels = np.stack([replay.pixels[future] for replay in replays]) * scale
    fit, held = slice(0, None, 2), slice(1, None, 2)
    counts = counting_objects(pixels[fit])
    readout = Readout.fit(frames[fit], pixels[fit][:, :, counts])
    of_samples, read = _sample(model, config, store, number, plan, device, readout)
    of_physics = Moments(tuple(frames.shape[1:]))
    for replay in frames:
        of_physics.add(torch.from_numpy(replay)[None].double().div_(255))
    positions = scene_spread(
        pixels[held][:, :, counts], readout.read_all(frames[held]), read, plan.seed
    )
    return of_samples, of_physics, positions


def _sample(
    model: Imagines,
    config: ModelConfig,
    store: Store,
    number: int,
    plan: Plan,
    device: torch.device | str,
    readout: Readout | None,
) -> tuple[Moments, np.ndarray]:
    """K futures of a sequence as they are imagined: moments of every pixel, positions [K, T, M, 2].

    A group of them at a time, one step at a time: no frame is kept.
    """
    recorded = store.rows(number, 0, plan.n_frames)
    past = _tensor(recorded, plan.n_past).to(device)
    noise = sequence_noise(plan.seed, number, plan.samples, plan.n_frames - 1, config.z_dim)
    steps = [Moments((3, *store.size), device) for _ in range(plan.n_future)]
    read: list[list[Tensor]] = [[] for _ in range(plan.n_future)]
    for t, frames in _futures(model, config, recorded, past, noise, plan.n_future):
        steps[t].add(frames)
        if readout is not None:
            read[t].append(readout.read(frames, t))
    whole = Moments((plan.n_future, *store.size, 3))
    whole.count = plan.samples
    whole.mean = torch.stack([step.mean.cpu() for step in steps]).permute(0, 2, 3, 1)
    whole.squares = torch.stack([step.squares.cpu() for step in steps]).permute(0, 2, 3, 1)
    places = torch.stack([torch.cat(part) for part in read], 1).numpy() if readout else np.empty(0)
    return whole, places


def _futures(
    model: Imagines,
    config: ModelConfig,
    recorded: Recording,
    past: Tensor,
    noise: Tensor,
    n_future: int,
) -> Iterator[tuple[int, Tensor]]:
    def rows(part: np.ndarray | None, used: bool) -> Tensor | None:
        return None if part is None or not used else torch.from_numpy(part.copy())[None]

    made = model.futures(
        past,
        rows(recorded.actions, config.uses_actions),
        rows(recorded.positions, config.uses_positions),
        noise=noise[None],
        n_future=n_future,
        at_once=AT_ONCE.get(past.device.type, 64),
    )
    for _, t, frames in made:
        yield t, frames[0]


def _tensor(recorded: Recording, n_past: int) -> Tensor:
    frames = torch.from_numpy(recorded.frames[:n_past].copy())[None]
    return frames.permute(0, 1, 4, 2, 3).float().div_(255)


def _add_pixels(
    spread: Spread,
    store: Store,
    number: int,
    plan: Plan,
    of_samples: Moments,
    of_physics: Moments | None,
) -> None:
    """Variances of the frame, and the map of a sequence while there is room for one."""
    spread.sample_variance.append(of_samples.variance().mean((1, 2, 3)).numpy())
    if of_physics is not None:
        spread.physics_variance.append(of_physics.variance().mean((1, 2, 3)).numpy())
    if len(spread.maps) < plan.maps:
        recorded = store.rows(number, plan.n_past, plan.n_frames).frames

        def deviation(moments: Moments) -> np.ndarray:
            return np.asarray(moments.variance().mean(-1).sqrt().float().numpy())

        spread.maps.append(
            SpreadMap(
                store.names[number],
                np.array(recorded),
                deviation(of_samples),
                None if of_physics is None else deviation(of_physics),
            )
        )
