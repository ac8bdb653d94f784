"""Batches of a split: which sequences a training step sees, and where in them it begins."""

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache

import numpy as np
import torch

from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.model.clip import Clip

GROUP = 4
"""Shards of a remote store whose sequences are shuffled together."""


def _clip(store: Store, indices: list[int], starts: list[int], n_frames: int) -> Clip:
    taken = [
        store.rows(i, start, start + n_frames) for i, start in zip(indices, starts, strict=True)
    ]

    def stack(part: str, dim: int | None) -> torch.Tensor | None:
        if dim is None:
            return None
        return torch.from_numpy(np.stack([getattr(sequence, part) for sequence in taken]))

    frames = torch.from_numpy(np.stack([sequence.frames for sequence in taken]))
    return Clip(
        frames.permute(0, 1, 4, 2, 3),
        stack("actions", store.action_dim),
        stack("positions", store.position_dim),
        stack("tracks", store.track_dim),
    )


@lru_cache(maxsize=4)
def _order(store: Store, seed: int, lap: int) -> np.ndarray:
    """The order in which the sequences are gone through for the ``lap``-th time.

    All of them shuffled; of a remote store, the shards are shuffled and then the sequences within
    groups of ``GROUP`` shards, so that few have to be here at a time.
    """
    random = np.random.default_rng((seed, 0, lap))
    if not store.remote:
        return random.permutation(len(store))
    shards = random.permutation(len(store.shards))
    groups = [shards[k : k + GROUP] for k in range(0, len(shards), GROUP)]
    return np.concatenate(
        [random.permutation(np.flatnonzero(np.isin(store.shard_of, group))) for group in groups]
    )


@lru_cache(maxsize=4)
def _shard_order(store: Store, seed: int, lap: int) -> tuple[np.ndarray, np.ndarray]:
    """The shards in the order of their first use in a lap, and the place of that use."""
    _, first = np.unique(store.shard_of[_order(store, seed, lap)], return_index=True)
    return np.argsort(first), np.sort(first)


def training_batch(
    store: Store,
    *,
    n_frames: int,
    batch_size: int,
    seed: int,
    global_step: int,
    process: int = 0,
    processes: int = 1,
) -> Clip:
    """The batch of a step: a function of the seed and the step alone.

    The sequences are gone through in a new random order each time; batches run on across these
    passes, so that every sequence is seen equally often. Starts are uniform over all that fit.

    Args:
        store: the training split.
        n_frames: frames T of each clip.
        batch_size: clips B.
        seed: seed of the order and the starts.
        global_step: steps since the beginning of the run.
        process: number of the training process whose part of the batch is wanted.
        processes: how many train together, each on its own part of every batch. Their parts make
            up the same batch whatever their number, so a resume may change it.

    Returns:
        uint8 frames [B / processes, T, 3, H, W] with actions, positions and tracks as the store has
        them.
    """
    first = global_step * batch_size
    indices: list[int] = []
    orders: dict[int, np.ndarray] = {}
    for k in range(first, first + batch_size):
        lap, place = divmod(k, len(store))
        if lap not in orders:
            orders[lap] = _order(store, seed, lap)
        indices.append(int(orders[lap][place]))
    random = np.random.default_rng((seed, 4, global_step))
    starts = [int(random.integers(store.lengths[i] - n_frames + 1)) for i in indices]
    own = slice(batch_size * process // processes, batch_size * (process + 1) // processes)
    return _clip(store, indices[own], starts[own], n_frames)


@contextmanager
def _fetched_ahead(store: Store, seed: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that is told the number of each sequence whose turn it is.

    Another thread then fetches the ``GROUP`` shards of a remote store that come into use next, so
    that no step waits for them.
    """
    if not store.remote:
        yield lambda number: None
        return
    count = len(store.shards)
    asked: int | None = None

    def fetch(k: int) -> None:
        with suppress(ForeframeError):  # said when its turn has come
            store.fetch(k)

    def turn(number: int) -> None:
        nonlocal asked
        lap, place = divmod(number, len(store))
        in_use = lap * count + int(_shard_order(store, seed, lap)[1].searchsorted(place, "right"))
        for at in range(in_use if asked is None else asked, in_use + GROUP):
            later, k = divmod(at, count)
            pool.submit(fetch, int(_shard_order(store, seed, later)[0][k]))
        asked = in_use + GROUP

    pool = ThreadPoolExecutor(1, thread_name_prefix="foreframe-shards")
    try:
        yield turn
    finally:
        pool.shutdown(cancel_futures=True)


def evaluation_batches(
    store: Store, *, n_frames: int, batch_size: int, limit: int | None = None
) -> Iterator[Clip]:
    """The first ``n_frames`` frames of the sequences in order; the last batch may be smaller."""
    n = len(store) if limit is None else min(limit, len(store))
    for first in range(0, n, batch_size):
        indices = list(range(first, min(first + batch_size, n)))
        yield _clip(store, indices, [0] * len(indices), n_frames)


@contextmanager
def prefetch(
    store: Store,
    *,
    n_frames: int,
    batch_size: int,
    seed: int,
    first_step: int,
    process: int = 0,
    processes: int = 1,
    pin_memory: bool = False,
    depth: int = 2,
) -> Iterator[Iterator[Clip]]:
    """An endless iterator of ``training_batch`` from ``first_step`` on, made ahead by one thread.

    Args:
        store: the training split.
        n_frames: see ``training_batch``.
        batch_size: see ``training_batch``.
        seed: see ``training_batch``.
        first_step: global step of the first batch.
        process: see ``training_batch``.
        processes: see ``training_batch``.
        pin_memory: pin the memory, for faster copies to a GPU.
        depth: batches made ahead.
    """
    made: queue.Queue[Clip | BaseException] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: Clip | BaseException) -> None:
        while not stopped.is_set():
            try:
                made.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def work() -> None:
        step = first_step
        try:
            with _fetched_ahead(store, seed) as turn:
                while not stopped.is_set():
                    turn(step * batch_size)
                    clip = training_batch(
                        store,
                        n_frames=n_frames,
                        batch_size=batch_size,
                        seed=seed,
                        global_step=step,
                        process=process,
                        processes=processes,
                    )
                    put(clip.pinned() if pin_memory else clip)
                    step += 1
        except BaseException as error:  # handed to whoever asks for the next batch
            put(error)

    def take() -> Iterator[Clip]:
        while not stopped.is_set():  # after the block there is nobody left to wait for
            item = made.get()
            if isinstance(item, BaseException):
                raise item
            yield item

    thread = threading.Thread(target=work, name="foreframe-batches", daemon=True)
    thread.start()
    try:
        yield take()
    finally:
        stopped.set()
        thread.join()
