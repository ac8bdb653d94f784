"""What an export to a LeRobotDataset will write: which episodes share a file, and how fast."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from foreframe.data.resumable import Resumable
from foreframe.data.sources.lerobot_layout import DATA_PATH, EPISODES_PATH, IMAGES, VIDEO_PATH
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.system.places import Place

EPISODES_PER_FILE = 128
PIXELS_PER_FILE = 2**27
"""Pixels in a video file, which make about 100 MB; a longer episode has a file of its own."""

FILES_PER_CHUNK = 1000
_RATES = (0.01, 1000.0)


@dataclass(frozen=True)
class EpisodeGroup:
    """Episodes that share their files.

    Attributes:
        store: the store that holds them.
        out: the dataset.
        record: file that says that the job is done.
        number: number of the files.
        first: the first sequence of the store.
        stop: the one after the last.
        episode: number of the first one's episode.
        index: number of the first one's first row.
        camera: feature of the frames.
        rate: frames in a second.
    """

    store: Store
    out: Path
    record: Path
    number: int
    first: int
    stop: int
    episode: int
    index: int
    camera: str
    rate: Fraction

    @property
    def where(self) -> dict[str, int]:
        """Which files, as the paths name them."""
        chunk, file = divmod(self.number, FILES_PER_CHUNK)
        return {"chunk_index": chunk, "file_index": file}


def find_rate(root: Place, stores: dict[str, Store], given: float | None) -> Fraction:
    """Frames in a second, as the stores know it or else as ``given``.

    Raises:
        ForeframeError: nobody knows it, or they contradict one another.
    """
    rates = (store.frame_rate for store in stores.values())
    known = {rate for rate in rates if rate is not None}
    if len(known) > 1:
        raise ForeframeError(
            f"{root}: its splits have different frame rates ({', '.join(map(str, sorted(known)))} "
            "Hz), and a LeRobotDataset has one. Import them alike."
        )
    if given is not None and known and abs(given - min(known)) > 1e-6 * given:
        raise ForeframeError(
            f"--frame-rate {given:g}: the dataset says {min(known):g} Hz. Leave the option out."
        )
    chosen = min(known) if known else given
    if chosen is None:
        raise ForeframeError(
            f"{root}: does not say how many frames it has in a second. Give --frame-rate."
        )
    if not _RATES[0] <= chosen <= _RATES[1]:
        raise ForeframeError(
            f"--frame-rate {chosen:g}: must be between {_RATES[0]:g} and {_RATES[1]:g}."
        )
    return Fraction(chosen).limit_denominator(1001)


def _camera(store: Store) -> str:
    name = str(store.origin.get("camera") or "camera")
    name = name.removeprefix(IMAGES).removeprefix("observation.")
    return IMAGES + (re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_.") or "camera")


def plan_groups(
    stores: dict[str, Store], target: Resumable, rate: Fraction
) -> Iterator[EpisodeGroup]:
    """All the jobs of an export, in the order of the episodes; none reaches over a shard."""
    number = episode = index = 0
    camera = _camera(next(iter(stores.values())))
    for store in stores.values():
        most = PIXELS_PER_FILE // (store.size[0] * store.size[1])
        first = 0
        while first < len(store):
            stop, frames = first + 1, int(store.lengths[first])
            while (
                stop < len(store)
                and stop - first < EPISODES_PER_FILE
                and store.shard_of[stop] == store.shard_of[first]
                and frames + store.lengths[stop] <= most
            ):
                frames += int(store.lengths[stop])
                stop += 1
            record = target.record(f"{number:06d}")
            yield EpisodeGroup(
                store, target.out, record, number, first, stop, episode, index, camera, rate
            )
            number, episode, index = number + 1, episode + stop - first, index + frames
            first = stop


def files_of(job: EpisodeGroup) -> tuple[Path, Path, Path]:
    """Rows, pictures and list of the episodes of a job."""
    return (
        job.out / DATA_PATH.format(**job.where),
        job.out / VIDEO_PATH.format(**job.where, video_key=job.camera),
        job.out / EPISODES_PATH.format(**job.where),
    )
