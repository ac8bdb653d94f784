"""Pictures that show whether a model imagines pushes, beside what the simulator knows.

    python benchmarks/pushes.py --run runs/demo --data data/push --out pictures

The data are those of `foreframe simulate`, with tracks; 28 frames are imagined from 2 given ones.
pushes.png and .gif have the first sequences in which the tracks of an object move more than 6
pixels of 64 within 10 frames of the last given one; physics.png and .gif the same beginnings under
other masses and frictions; path.png the way of the pushed object, for models that have things;
horizon.png and .json the PSNR of every step over the whole split.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.horizon import FRAMES, FUTURE, PAST, draw_horizon, horizon
from benchmarks.sheets import HEAT, Cell, Row, save_gif, save_png, sheet
from benchmarks.simulated import ending_in_words, opened, options
from foreframe.data.lab import SPLITS
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.evaluation.conditions import permutation_without_fixed_points
from foreframe.evaluation.sampling import noise_of_batch
from foreframe.model.places.moment import PlacesImagination
from foreframe.probe.spread import own_number
from foreframe.runs.folder import RUN_CONFIG, saved_config
from foreframe.runs.hub import VideoCVAE
from foreframe.simulator.episode import Episode, simulate_sequence
from foreframe.simulator.replay import Simulation
from foreframe.simulator.scene import FRICTION, MASS, MOST_THINGS, Physics
from foreframe.system.device import choose_device
from foreframe.system.files import whole_file
from foreframe.visuals.charts import COLOURS, new_figure
from foreframe.visuals.frames import GIVEN, PREDICTED, RECORDED
from foreframe.visuals.probe import overlaid

SOON, FAR = 10, 6.0  # an object is pushed if it moves so many pixels of 64 within so many frames
SAMPLES = 16  # of the model, and as many drawn physics
DRAWN = 3  # of the physics, shown beside both extremes; and 2 + DRAWN samples
STEPS = (1, 4, 7, 10, 14, 18, 23, 28)  # that stand side by side
FOUND = 4.0  # pixels of 64 from the true place within which a found thing is taken for the object
MOST_ERROR, MOST_DEVIATION = 0.5, 0.25  # the brightest colour of a map, values in [0, 1]

EXTREMES = {
    name: Physics(
        np.full(MOST_THINGS, MASS[end]),
        np.full(MOST_THINGS, FRICTION[end]),
        np.zeros((MOST_THINGS, 3)),
    )
    for end, name in enumerate(("light, slippery", "heavy, rough"))
}


@dataclass(frozen=True)
class Pushed:
    """A sequence in which an object is pushed.

    Attributes:
        name: of the sequence.
        number: in its split.
        frames: uint8 [T, H, W, 3].
        way: [T, 2], where the pushed object is, as fractions of the frame.
        thing: the object's number in the simulator.
        others: what the simulator makes of the actions of another sequence after the given frames.
        physics: its futures under other physics: both extremes, then those drawn.
    """

    name: str
    number: int
    frames: np.ndarray
    way: np.ndarray
    thing: int
    others: Episode
    physics: list[Episode]


class Imagined(NamedTuple):
    """Futures, uint8 [S, K, T, H, W, 3], and one under other actions, [S, T, H, W, 3]."""

    own: np.ndarray
    others: np.ndarray


# -- what is shown --------------------------------------------------------------------------------


def find_pushed(
    store: Store, simulation: Simulation, split: str, count: int, seed: int
) -> list[Pushed]:
    """The first sequences in which an object is pushed."""
    if store.track_dim is None:
        raise ForeframeError(
            f"{store.source}: there are no tracks, which say where objects are. Simulate the data "
            "anew: foreframe simulate DATA."
        )
    lenders = permutation_without_fixed_points(len(store), seed) if len(store) > 1 else [0]
    found: list[Pushed] = []
    for number in range(len(store)):
        recording = store.rows(number, 0, FRAMES)
        assert recording.tracks is not None
        tracks = recording.tracks.reshape(FRAMES, -1, 2)
        moved = 64 * np.linalg.norm(tracks[PAST - 1 + SOON] - tracks[PAST - 1], axis=-1)
        if np.nanmax(moved, initial=0.0) <= FAR:
            continue
        thing = int(np.nanargmax(moved))
        made = _simulated(store, simulation, split, number, int(lenders[number]))
        frames, way = np.array(recording.frames), np.array(tracks[:, thing])
        found.append(Pushed(store.names[number], number, frames, way, thing, *made))
        if len(found) == count:
            break
    if not found:
        raise ForeframeError(
            f"{store.source}: in none of the {len(store)} sequences of {split} is an object moved "
            f"by more than {FAR:g} pixels of 64 within {SOON} frames. Simulate more sequences."
        )
    return found


def _simulated(
    store: Store, simulation: Simulation, split: str, number: int, lender: int
) -> tuple[Episode, list[Episode]]:
    simulated, where = own_number(store, number), store.source / store.names[number]

    def carry_out(**more: Any) -> Episode:
        key = simulation.seed, SPLITS.index(split), simulated
        return simulate_sequence(*key, size=simulation.size, **more)

    if not np.array_equal(carry_out(frames=1).frames, store.rows(number, 0, 1).frames):
        raise ForeframeError(
            f"{where}: the simulator gives other frames than those recorded. Simulate the data "
            "again on this machine."
        )
    own, other = (store.rows(k, 0, FRAMES).actions for k in (number, lender))
    assert own is not None  # a simulation has them
    assert other is not None
    actions = np.concatenate([own[: PAST - 1], other[PAST - 1 :]])
    wanted = [*EXTREMES.values(), *range(1, SAMPLES + 1)]
    return carry_out(actions=actions), [carry_out(physics=physics) for physics in wanted]


def imagine(model: VideoCVAE, store: Store, scenes: Sequence[Pushed], noise: Tensor) -> Imagined:
    """Futures of the scenes under their own actions, and one each under those of another."""
    made = []
    for others in (False, True):
        past, actions, positions = _given(store, scenes, others)
        futures = model.generate(
            past, actions, positions, n_samples=1 if others else SAMPLES, n_future=FUTURE,
            noise=noise[:, :1] if others else noise,
        )  # fmt: skip
        shown = torch.Tensor(futures.cpu()).mul(255).round().byte().movedim(3, 5).numpy()
        given = np.stack([scene.frames[:PAST] for scene in scenes])[:, None]
        made.append(np.concatenate([given.repeat(shown.shape[1], 1), shown], 2))
    return Imagined(made[0], made[1][:, 0])


def _given(
    store: Store, scenes: Sequence[Pushed], others: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    past = np.stack([scene.frames[:PAST] for scene in scenes])
    rows = [store.rows(scene.number, 0, FRAMES) for scene in scenes]
    sources: list[Any] = [
        scene.others if others else row for scene, row in zip(scenes, rows, strict=True)
    ]
    actions, positions = (
        torch.from_numpy(np.stack([getattr(one, part) for one in sources]))
        for part in ("actions", "positions")
    )
    return torch.from_numpy(past).movedim(4, 2), actions, positions


def _when(t: int) -> str:
    return "given" if t < PAST else f"predicted frame {t - PAST + 1} of {FUTURE}"


# -- the pictures ---------------------------------------------------------------------------------


def push_cells(scene: Pushed, own: np.ndarray, others: np.ndarray, t: int) -> list[Cell]:
    """The rows of ``pushes`` at a step, from top to bottom."""
    edges = (GIVEN, GIVEN) if t < PAST else (RECORDED, PREDICTED)
    error = np.abs(own[t].astype(float) - scene.frames[t]).mean(-1) / 255 / MOST_ERROR
    ring, other = scene.way[t], scene.others.tracks().reshape(FRAMES, -1, 2)[t, scene.thing]
    return [
        Cell(scene.frames[t], edges[0], ring),
        Cell(own[t], edges[1], ring),
        Cell((255 * HEAT(error.clip(0, 1))[..., :3]).astype(np.uint8), RECORDED),
        Cell(scene.others.frames[t], edges[0], other),
        Cell(others[t], edges[1], other),
    ]


PUSH_ROWS = (
    "truth", "prediction\n(one sample)", "absolute error", "truth under\nother actions",
    "prediction\nunder\nother actions",
)  # fmt: skip


def push_rows(columns: Sequence[list[Cell]], heads: Sequence[str]) -> list[Row]:
    """Columns of cells as rows, with words above the first."""
    rows = zip(PUSH_ROWS, zip(*columns, strict=True), strict=True)
    return [Row(*row, () if k else heads) for k, row in enumerate(rows)]


def draw_pushes(out: Path, scenes: Sequence[Pushed], made: Imagined) -> None:
    """``pushes.png`` with some steps, ``pushes.gif`` with all."""
    ramp = f"error: 0 to {255 * MOST_ERROR:.0f} of 255\nring: where the pushed object truly is"
    parts = list(zip(scenes, made.own[:, 0], made.others, strict=True))
    heads = ["last given frame", *(f"predicted frame {step}" for step in STEPS)]
    rows = []
    for part in parts:
        columns = [push_cells(*part, PAST - 1 + step) for step in (0, *STEPS)]
        rows += [Row(part[0].name), *push_rows(columns, heads)]
    title = f"Pushes imagined from {PAST} given frames and the actions"
    save_png(out / "pushes.png", sheet(title, rows, ramp=ramp))
    names = [scene.name for scene in scenes]
    pictures = []
    for t in range(FRAMES):
        rows = push_rows([push_cells(*part, t) for part in parts], names)
        pictures.append(sheet(f"Pushes: {_when(t)}", rows, ramp=ramp))
    save_gif(out / "pushes.gif", pictures)


def physics_rows(scene: Pushed, samples: np.ndarray, t: int) -> list[Row]:
    """Futures of the simulator above samples of the model, and how far each spread."""
    replays = np.stack([episode.frames[t] for episode in scene.physics])
    shown, drawn = len(EXTREMES) + DRAWN, replays[len(EXTREMES) :]
    physics = [*EXTREMES, *(f"drawn physics {k + 1}" for k in range(DRAWN))]
    rows, means = [], []
    for label, edge, heads, frames in (
        ("simulator", RECORDED, physics, replays[:shown]),
        ("model", PREDICTED, [f"sample {k + 1}" for k in range(shown)], samples[:shown, t]),
    ):
        spread = ((drawn if edge == RECORDED else samples[:, t]) / 255).std(0, ddof=1).mean(-1)
        means.append(255 * spread.mean())
        heat = 255 * overlaid(scene.frames[t], (spread / MOST_DEVIATION).astype(np.float32), HEAT)
        cells = [Cell(frame, GIVEN if t < PAST else edge) for frame in frames]
        cells.append(Cell(heat.astype(np.uint8), RECORDED))
        rows.append(Row(label, cells, [*heads, f"deviation of {SAMPLES}"]))
    said = f"{means[0]:.1f} over the physics, {means[1]:.1f} over the model's samples"
    return [Row(f"{scene.name}: mean deviation of a pixel {said} (of 255)"), *rows]


def draw_physics(out: Path, scenes: Sequence[Pushed], made: Imagined) -> None:
    """``physics.png`` with the last step, ``physics.gif`` with all."""
    drawn = f"standard deviation of a pixel over {SAMPLES} drawn physics or samples"
    ramp = f"{drawn}:\n0 to {255 * MOST_DEVIATION:.0f} of 255"
    pictures = []
    for t in range(FRAMES):
        parts = zip(scenes, made.own, strict=True)
        rows = [row for scene, own in parts for row in physics_rows(scene, own, t)]
        title = f"The same actions under several hidden physics: {_when(t)}"
        pictures.append(sheet(title, rows, ramp=ramp))
    save_png(out / "physics.png", pictures[-1])
    save_gif(out / "physics.gif", pictures)


def imagined_ways(
    model: VideoCVAE, store: Store, scenes: Sequence[Pushed], noise: Tensor
) -> Iterator[tuple[np.ndarray, float, bool]]:
    """The found thing that is nearest to each scene's pushed object, if anything is found.

    Yields its places in the samples, [1 + FUTURE, K, 2] in pixels of 64, how far from the object's
    true place it was found, and whether anything was.
    """
    past, actions, positions = _given(store, scenes)
    now: PlacesImagination = model.begin(
        past, actions, positions, noise=noise[:, :, : PAST - 1], n_samples=SAMPLES
    )
    places = [now.now.motion.place]
    for t in range(PAST - 1, FRAMES - 1):
        at = t if model.config.timing == "source" else t + 1
        _, now = model.step(now, actions[:, at], positions[:, at])
        places.append(now.now.motion.place)
    ways = 32 * (torch.stack(places).unflatten(1, (len(scenes), SAMPLES)).cpu().numpy() + 1)
    things = now.seen.things
    for k, scene in enumerate(scenes):
        there = things.there[k, :, 0].bool().cpu().numpy()
        apart = np.linalg.norm(ways[0, k, 0] - 64 * scene.way[PAST - 1], axis=-1)
        nearest = int(np.where(there, apart, np.inf).argmin())
        yield ways[:, k, :, nearest], float(apart[nearest]), bool(there.any())


def draw_paths(
    path: Path, scenes: Sequence[Pushed], ways: Sequence[tuple[np.ndarray, float, bool]]
) -> None:
    """The way of each pushed object over the last given frame."""
    figure = new_figure((5.2 * len(scenes), 6.7))
    ink = COLOURS["chart-ink"]
    grid = figure.subplots(1, len(scenes), squeeze=False)[0]
    for ax, scene, (samples, apart, any_there) in zip(grid, scenes, ways, strict=True):
        ax.imshow(scene.frames[PAST - 1], extent=(0, 64, 64, 0), interpolation="nearest", alpha=0.6)
        true = 64 * scene.way[PAST - 1 :]
        for k, episode in enumerate(scene.physics[len(EXTREMES) :]):
            other = 64 * episode.tracks().reshape(FRAMES, -1, 2)[PAST - 1 :, scene.thing]
            _way(ax, other, "#3c434d", 1.0, "true, under other hidden physics" if k == 0 else None)
        _way(ax, true, "#0b57d0", 3.0, "true")
        ax.plot(
            *true[0], "o", color="#0b57d0", markersize=9, markeredgecolor="white", label="start"
        )
        if any_there and apart <= FOUND:
            for k, way in enumerate(samples.swapaxes(0, 1)):
                _way(ax, way, "#e8590c", 1.4, "imagined, one line a sample" if k == 0 else None)
            far = np.linalg.norm(samples[-1] - samples[0], axis=-1).mean()
            said = f"found {apart:.1f} pixels beside its true place;\nmoved in the end by "
            said += f"{np.linalg.norm(true[-1] - true[0]):.1f} pixels, imagined {far:.1f} (mean)"
        else:
            near = f"the nearest thing is {apart:.1f} pixels away" if any_there else "nothing is"
            said = f"the object is not found by the model:\n{near}"
        ax.set(xlim=(0, 64), ylim=(64, 0), xticks=[], yticks=[])
        ax.set_title(f"{scene.name}\n{said}", fontsize=11, color=ink, loc="left")
    handles: dict[str, Any] = {}
    for ax in grid:
        lines, labels = ax.get_legend_handles_labels()
        handles |= dict(zip(labels, lines, strict=True))
    words = figure.legend(handles.values(), handles, loc="outside lower center", ncols=2)
    words.set(frame_on=False)
    figure.patch.set(facecolor="white", alpha=1.0)
    with whole_file(path) as aside:
        figure.savefig(aside, format="png", dpi=120)


def _way(ax: Any, way: np.ndarray, colour: str, width: float, label: str | None) -> None:
    ax.plot(*way.T, color=colour, linewidth=width, label=label)
    ax.plot(*way[-1], "s", color=colour, markersize=3 + width, markeredgecolor="white", zorder=3)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--scenes", type=int, default=3)
    given = parser.parse_args()
    if given.scenes < 1:
        raise ForeframeError(f"--scenes {given.scenes}: must be 1 or more.")
    model, simulation, store = opened(given, FRAMES)
    scenes = find_pushed(store, simulation, given.split, given.scenes, given.seed)
    numbers = [scene.number for scene in scenes]
    noise = noise_of_batch(given.seed, numbers, SAMPLES, FRAMES, model.config.z_dim)
    made = imagine(model, store, scenes, noise)
    draw_pushes(given.out, scenes, made)
    draw_physics(given.out, scenes, made)
    if model.config.things:
        ways = list(imagined_ways(model, store, scenes, noise))
        draw_paths(given.out / "path.png", scenes, ways)
    else:
        print("path.png: left out, since this model has no things whose places it imagines.")
    config = saved_config(given.run) if (given.run / RUN_CONFIG).is_file() else None
    trained = None if config is None else config.train.n_future
    draw_horizon(given.out, horizon(model, store, choose_device(given.device), given.seed), trained)
    print(f"{given.out}: the pictures are there.")


if __name__ == "__main__":
    ending_in_words(main)
