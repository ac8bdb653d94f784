"""A whole dataset of simulated robot pushing, in the lab's layout, made by several processes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from foreframe.data.lab import SPLITS, write_sequence
from foreframe.errors import ForeframeError
from foreframe.system.files import write_json
from foreframe.system.workers import side_by_side

GENERATOR = "foreframe simulated robot pushing, version 1"
"""The number goes up when the same seed no longer gives the same files."""

SHARD = 256
"""Sequences in one folder, as in the lab's data."""

DESCRIPTION = "dataset.json"
"""What a simulated dataset says of itself, beside its splits."""

_MAY_DIFFER = ("foreframe", "sequences", "complete")
_Job = tuple[Path, int, int, int, int]


def _sequence_folder(out: Path, split: int, number: int) -> Path:
    first = number // SHARD * SHARD
    return out / SPLITS[split] / f"push_{first}_to_{first + SHARD - 1}" / str(number)


def _describe(counts: tuple[int, int, int], seed: int, size: int) -> dict[str, Any]:
    # Imported here and below, not above: the other commands must work without MuJoCo.
    from foreframe import __version__
    from foreframe.simulator import actions, camera, episode, scene
    from foreframe.simulator.mujoco_import import mujoco

    return {
        "generator": GENERATOR,
        "foreframe": __version__,
        "mujoco": mujoco.__version__,
        "seed": seed,
        "sequences": dict(zip(SPLITS, counts, strict=True)),
        "complete": False,
        "frames": episode.FRAMES,
        "size": [size, size],
        "frame_interval_seconds": episode.INTERVAL,
        "units": "metres, radians, kilograms",
        "actions": list(actions.COLUMNS),
        "actions_held_frames": actions.HOLD,
        "alignment": "action t acts between frame t and frame t + 1; position t is at frame t",
        "positions": ["x", "y", "z"],
        "camera": {
            "position": list(camera.POSITION),
            "look_at": list(camera.LOOK_AT),
            "vertical_field_of_view_degrees": camera.FIELD_OF_VIEW,
            "position_jitter": camera.JITTER,
            "noise": episode.NOISE,
        },
        "hidden": {
            "mass_log_uniform": list(scene.MASS),
            "friction_log_uniform": list(scene.FRICTION),
            "centre_of_mass_sigma": scene.CENTRE_OF_MASS,
        },
    }


def _check_out(out: Path, wanted: dict[str, Any]) -> None:
    """Refuse a folder that holds anything but the beginning of the dataset that is asked for."""
    path = out / DESCRIPTION
    for part in (out, *out.parents):
        if part.is_file():
            raise ForeframeError(f"{part}: is a file; name a folder for the dataset.")
    try:
        if not out.exists() or not any(not entry.name.startswith(".") for entry in out.iterdir()):
            return
        if not path.exists():
            raise ForeframeError(
                f"{out}: holds other files and no {DESCRIPTION}, so it is not a simulated "
                "dataset; choose an empty folder or a new one."
            )
        found = json.loads(path.read_text(encoding="utf-8"))
        before = found["sequences"]
        less = [split for split in SPLITS if before[split] > wanted["sequences"][split]]
    except OSError as error:
        raise ForeframeError(f"{out}: cannot be read ({error.strerror}).") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ForeframeError(
            f"{path}: is not a description of a simulated dataset; "
            "choose another folder or remove this one."
        ) from error
    other = [key for key in wanted if key not in _MAY_DIFFER and found.get(key) != wanted[key]]
    if other or less:
        what = "; ".join(
            [f"{key} {found.get(key)!r} there, {wanted[key]!r} now" for key in other]
            + [
                f"{split}: {before[split]} sequences there, {wanted['sequences'][split]} now"
                for split in less
            ]
        )
        raise ForeframeError(
            f"{out}: holds a dataset simulated with other settings ({what}); "
            "choose another folder or remove this one."
        )


def _make(job: _Job) -> None:
    from foreframe.simulator.episode import simulate_sequence

    out, split, number, seed, size = job
    episode = simulate_sequence(seed, split, number, size=size)
    folder = _sequence_folder(out, split, number)
    write_sequence(folder, episode.frames, episode.actions, episode.positions)


def _counts(sequences: int, validate: int | None, test: int | None) -> tuple[int, int, int]:
    default = max(1, sequences // 10)
    validate = default if validate is None else validate
    test = default if test is None else test
    if validate < 1 or test < 1 or sequences - validate - test < 1:
        raise ForeframeError(
            f"--sequences {sequences}: leaves {sequences - validate - test} for training, "
            f"{validate} for validation and {test} for testing; each split needs at least 1."
        )
    return sequences - validate - test, validate, test


def simulate(
    out: Path,
    *,
    sequences: int,
    workers: int | None = None,
    seed: int = 0,
    validate: int | None = None,
    test: int | None = None,
    size: int = 64,
    ray: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write ``sequences`` simulated sequences of 30 frames, or what is still missing of them.

    Sequence k of a split depends on ``seed``, the split and k only, so the same seed gives the
    same files whatever ``workers``, and a larger dataset begins with the smaller one.

    Args:
        out: folder for the dataset: ``OUT/{train,validate,test}/push_0_to_255/<n>/`` and
            ``OUT/dataset.json``. Sequences that are there from a run with the same settings stay.
        sequences: how many in all splits together.
        workers: processes; every available core by default.
        seed: >= 0.
        validate: how many of them for validation; a tenth by default, at least one.
        test: how many of them for testing; a tenth by default, at least one.
        size: height and width of the frames in pixels, an even number.
        ray: address of a Ray cluster that does the work instead of processes.
        progress: called with (sequences there, sequences in all) at the start and after each.

    Raises:
        ForeframeError: the numbers make no sense, ``out`` holds something else, MuJoCo is
            missing, or a file could not be written.
        KeyboardInterrupt: after the processes have ended; what is written is whole and stays.
    """
    out = Path(out)
    counts = _counts(sequences, validate, test)
    if workers is not None and workers < 1:
        raise ForeframeError(f"--workers {workers}: at least 1 is needed.")
    if seed < 0:
        raise ForeframeError(f"--seed {seed}: must be 0 or more.")
    if size < 16 or size % 2:
        raise ForeframeError(f"--size {size}: must be an even number of pixels, 16 or more.")
    description = _describe(counts, seed, size)
    _check_out(out, description)
    write_json(out / DESCRIPTION, description)
    jobs = [
        (out, split, number, seed, size)
        for split, count in enumerate(counts)
        for number in range(count)
        if not _sequence_folder(out, split, number).is_dir()
    ]
    done = sequences - len(jobs)
    if progress is not None:
        progress(done, sequences)
    with side_by_side(_make, jobs, workers=workers, ray=ray) as finished:
        for _ in finished:
            done += 1
            if progress is not None:
                progress(done, sequences)
    write_json(out / DESCRIPTION, {**description, "complete": True})
