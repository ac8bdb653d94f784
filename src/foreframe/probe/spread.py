"""Do the samples spread as the hidden physics does: replays and samples of the same scenes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from foreframe.config.model import ModelConfig
from foreframe.data.recording import Fit
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.evaluation.sampling import AT_ONCE, Imagines, sequence_noise
from foreframe.probe.calibrate import SceneSpread, counting_objects, scene_spread
from foreframe.probe.moments import PixelMoments
from foreframe.probe.options import ProbeOptions
from foreframe.probe.pushed import ScenePushed, scene_pushed
from foreframe.probe.readout import Readout
from foreframe.simulator.replay import Replay, Simulation
from foreframe.system.workers import side_by_side
from foreframe.visuals import SpreadMap

REVEALED = 1.0
"""An object that moves by more pixels than this within the given frames reveals its physics."""

MAPS = 3
"""Sequences, the first ones, whose maps are kept."""

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
        pushed: objects that are pushed away; likewise.
        maps: of the first sequences.
        passed_over: names of scenes that were not used since an object had been touched in the
            given frames, or none was touched at all.
    """

    sequences: list[str] = field(default_factory=list)
    sample_variance: list[np.ndarray] = field(default_factory=list)
    physics_variance: list[np.ndarray] = field(default_factory=list)
    scenes: list[SceneSpread] = field(default_factory=list)
    pushed: list[ScenePushed] = field(default_factory=list)
    maps: list[SpreadMap] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)


@torch.no_grad()
def spread_of_samples(
    model: Imagines,
    config: ModelConfig,
    store: Store,
    numbers: list[int],
    options: ProbeOptions,
    *,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Spread:
    """Measure, for data that cannot be replayed, how far apart the samples are, pixel by pixel.

    Args:
        model: a ``VideoCVAE`` or anything that yields futures as it does.
        config: what it is conditioned on, and the width of z.
        store: the split.
        numbers: of the sequences.
        options: given and predicted frames, samples and seed.
        device: where to compute.
        progress: called with (sequences done, all).
    """
    spread = Spread()
    sampler = _Sampler(model, config, store, options, device)
    for done, number in enumerate(numbers):
        samples, _ = sampler.sample(number, None)
        sampler.add_pixels(spread, number, samples, None)
        progress(done + 1, len(numbers))
    return spread


@torch.no_grad()
def spread_of_physics(
    model: Imagines,
    config: ModelConfig,
    store: Store,
    simulation: Simulation,
    numbers: list[int],
    options: ProbeOptions,
    *,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Spread:
    """Measure, for simulated data, samples beside replays of the same scene under other physics.

    Every second replay is for the fit of the readout; the others are compared with the samples.

    Args:
        model: see ``spread_of_samples``, as for the others.
        config: of the model.
        store: the split.
        simulation: that it was made by.
        numbers: of the scenes, of ``choose_scenes``.
        options: given and predicted frames, samples, seed, replays and workers.
        device: where to compute.
        progress: called with (replays done, all).
    """
    requests = [
        _Request(simulation, options, own_number(store, number), physics, scene)
        for scene, number in enumerate(numbers)
        for physics in range(1, options.replays + 1)
    ]
    sampler = _Sampler(model, config, store, options, device)
    pending: dict[int, dict[int, Replay]] = {}
    measured: dict[int, _Scene] = {}
    with side_by_side(_replay, requests, workers=options.workers) as results:
        for done, (scene, physics, replay) in enumerate(results):
            replays = pending.setdefault(scene, {})
            replays[physics] = replay
            if len(replays) == options.replays:
                ordered = [replay for _, replay in sorted(pending.pop(scene).items())]
                measured[scene] = sampler.measure(numbers[scene], ordered)
            progress(done + 1, len(requests))
    spread = Spread()
    for scene, number in enumerate(numbers):
        found = measured.pop(scene)
        spread.scenes.append(found.positions)
        spread.pushed.append(found.pushed)
        sampler.add_pixels(spread, number, found.samples, found.physics)
    return spread


def choose_scenes(
    store: Store, simulation: Simulation, options: ProbeOptions
) -> tuple[list[int], list[str]]:
    """The first scenes whose future is open and not told by the given frames.

    By the sequence's own physics: no object moves by more than ``REVEALED`` pixels in the given
    frames, and one by ``TOLD`` at least in the whole.

    Args:
        store: the split.
        simulation: that it was made by.
        options: given and predicted frames, the name of the split, how many scenes.

    Returns:
        their numbers, fewer than wanted if the split has no more, and the names of those that
        were passed over.

    Raises:
        ForeframeError: a sequence does not come out of the simulator as it was recorded.
    """
    chosen: list[int] = []
    passed: list[str] = []
    for number in range(len(store)):
        if len(chosen) == options.scenes:
            break
        own = _Request(simulation, options, own_number(store, number), 0, 0).replay()
        recorded = store.rows(number, 0, options.n_frames).frames
        if not np.array_equal(_fitted(own.frames, store), recorded):
            raise ForeframeError(
                f"{store.source / store.names[number]}: the simulator makes other frames of it "
                "than were recorded (another version of MuJoCo, or changed files). Simulate the "
                "data again."
            )
        moved = np.linalg.norm(own.pixels - own.pixels[:1], axis=-1)
        if moved[: options.n_past].max() <= REVEALED and moved.max() >= TOLD:
            chosen.append(number)
        else:
            passed.append(store.names[number])
    return chosen, passed


def own_number(store: Store, number: int) -> int:
    """A sequence's number in the simulator: the last part of its name."""
    last = store.names[number].rsplit("/", 1)[-1]
    if not last.isdecimal():
        raise ForeframeError(f"{store.source / store.names[number]}: is not a simulated sequence.")
    return int(last)


def _fitted(frames: np.ndarray, store: Store) -> np.ndarray:
    fit = Fit.to(store.size)
    return frames if frames.shape[1:3] == store.size else np.stack([fit(x) for x in frames])


@dataclass(frozen=True)
class _Request:
    """A replay that a worker is asked for."""

    simulation: Simulation
    options: ProbeOptions
    number: int
    physics: int
    scene: int

    def replay(self) -> Replay:
        split, frames = self.options.split, self.options.n_frames
        return self.simulation.replay(split, self.number, self.physics, frames=frames)


def _replay(request: _Request) -> tuple[int, int, Replay]:
    return request.scene, request.physics, request.replay()


@dataclass(frozen=True)
class _Scene:
    """One scene measured: pixels over the samples and over the replays, and positions."""

    samples: PixelMoments
    physics: PixelMoments
    positions: SceneSpread
    pushed: ScenePushed


@dataclass(frozen=True)
class _Sampler:
    """Samples futures of single sequences and measures them."""

    model: Imagines
    config: ModelConfig
    store: Store
    options: ProbeOptions
    device: torch.device | str

    def measure(self, number: int, replays: list[Replay]) -> _Scene:
        """Hold the samples of one scene against its replays."""
        options, edge = self.options, self.store.size[0]
        future = slice(options.n_past, options.n_frames)
        frames = np.stack([_fitted(replay.frames[future], self.store) for replay in replays])
        # As the camera of the model's frames sees them.
        scale = edge / replays[0].frames.shape[1]
        pixels = np.stack([replay.pixels[future] for replay in replays]) * scale
        given = np.stack([replay.pixels[options.n_past - 1] for replay in replays]) * scale
        fit, held = slice(0, None, 2), slice(1, None, 2)
        counts = counting_objects(pixels[fit])
        readout = Readout.fit(frames[fit], pixels[fit][:, :, counts])
        of_samples, read = self.sample(number, readout)
        of_physics = PixelMoments(tuple(frames.shape[1:]))
        for replay in frames:
            of_physics.add(torch.from_numpy(replay)[None].double().div_(255))
        true, read_true = pixels[held][:, :, counts], readout.read_all(frames[held])
        last = self.store.rows(number, options.n_past - 1, options.n_past).frames
        copied = readout.read_all(np.repeat(last[None], options.n_future, 1))
        return _Scene(
            of_samples,
            of_physics,
            scene_spread(true, read_true, read, options.seed),
            scene_pushed(given[held][:, counts], true, read_true, read, copied),
        )

    def sample(self, number: int, readout: Readout | None) -> tuple[PixelMoments, np.ndarray]:
        """K futures as they are imagined: moments of every pixel, positions [K, T, M, 2].

        A group of them at a time, one step at a time: no frame is kept.
        """
        options, size = self.options, self.store.size
        steps = [PixelMoments((3, *size), self.device) for _ in range(options.n_future)]
        read: list[list[Tensor]] = [[] for _ in range(options.n_future)]
        for t, frames in self._futures(number):
            steps[t].add(frames)
            if readout is not None:
                read[t].append(readout.read(frames, t))
        whole = PixelMoments((options.n_future, *size, 3))
        whole.count = options.samples
        whole.mean = torch.stack([step.mean.cpu() for step in steps]).permute(0, 2, 3, 1)
        whole.squares = torch.stack([step.squares.cpu() for step in steps]).permute(0, 2, 3, 1)
        if readout is None:
            return whole, np.empty(0)
        return whole, torch.stack([torch.cat(part) for part in read], 1).numpy()

    def _futures(self, number: int) -> Iterator[tuple[int, Tensor]]:
        """Step and frames [samples, 3, H, W], group after group."""
        options, config = self.options, self.config
        recorded = self.store.rows(number, 0, options.n_frames)
        past = torch.from_numpy(recorded.frames[: options.n_past].copy())[None]
        past = past.permute(0, 1, 4, 2, 3).float().div_(255).to(self.device)
        noise = sequence_noise(
            options.seed, number, options.samples, options.n_frames - 1, config.z_dim
        )

        def rows(part: np.ndarray | None, used: bool) -> Tensor | None:
            return None if part is None or not used else torch.from_numpy(part.copy())[None]

        made = self.model.futures(
            past,
            rows(recorded.actions, config.uses_actions),
            rows(recorded.positions, config.uses_positions),
            noise=noise[None],
            n_future=options.n_future,
            at_once=AT_ONCE.get(past.device.type, 64),
        )
        for _, t, frames in made:
            yield t, frames[0]

    def add_pixels(
        self, spread: Spread, number: int, of_samples: PixelMoments, of_physics: PixelMoments | None
    ) -> None:
        """Note the sequence, its variances, and its map while there is room for one."""
        spread.sequences.append(self.store.names[number])
        spread.sample_variance.append(of_samples.variance().mean((1, 2, 3)).numpy())
        if of_physics is not None:
            spread.physics_variance.append(of_physics.variance().mean((1, 2, 3)).numpy())
        if len(spread.maps) == MAPS:
            return
        recorded = self.store.rows(number, self.options.n_past, self.options.n_frames).frames

        def deviation(moments: PixelMoments) -> np.ndarray:
            return np.asarray(moments.variance().mean(-1).sqrt().float().numpy())

        spread.maps.append(
            SpreadMap(
                self.store.names[number],
                np.array(recorded),
                deviation(of_samples),
                None if of_physics is None else deviation(of_physics),
            )
        )
