"""Measure the simulator.

Frames/s on one core, how often an object moves, how well robot and command agree, and how well
repeating the last frame predicts.

Run from the repository: ``python benchmarks/simulator.py [--sequences 60] [--seed 1000]``.
"""

import argparse
import tempfile
import time
from pathlib import Path

import mujoco
import numpy as np

from foreframe.data.lab import write_sequence
from foreframe.simulator.episode import moved_pixels, simulate_sequence
from foreframe.simulator.scene import BIN

PAST, FUTURE = 2, 10


def copy_last_psnr(frames: np.ndarray) -> float:
    """PSNR in dB of the last past frame as prediction of the next ones, per channel, then mean."""
    video = frames.astype(np.float64) / 255
    errors = (video[PAST : PAST + FUTURE] - video[PAST - 1]) ** 2
    return float(np.mean(-10 * np.log10(np.maximum(errors.mean(axis=(1, 2)), 1e-10))))


def main() -> None:
    """Simulate some sequences and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sequences", type=int, default=60)
    # Not the default seed of the datasets: looking at these tunes nothing on their test split.
    parser.add_argument("--seed", type=int, default=1000)
    arguments = parser.parse_args()

    simulate_sequence(arguments.seed, 0, arguments.sequences)  # warm up
    with tempfile.TemporaryDirectory() as folder:
        start, start_cpu = time.perf_counter(), time.process_time()
        episodes = []
        for number in range(arguments.sequences):
            episode = simulate_sequence(arguments.seed, 0, number)
            place = Path(folder) / str(number)
            tracks = episode.tracks()
            write_sequence(place, episode.frames, episode.actions, episode.positions, tracks)
            episodes.append(episode)
        seconds, seconds_cpu = time.perf_counter() - start, time.process_time() - start_cpu

    frames = sum(len(episode.frames) for episode in episodes)
    moved = np.array([moved_pixels(e.centres, e.camera, 64).max() for e in episodes])
    touched = np.concatenate([moved_pixels(e.centres, e.camera, 64) > 2 for e in episodes])
    early = np.array([moved_pixels(e.centres[1:12], e.camera, 64).max() for e in episodes])
    psnr = np.array([copy_last_psnr(episode.frames) for episode in episodes])
    commanded = np.concatenate([e.actions[:-1, :2] for e in episodes])
    done = np.concatenate([np.diff(e.positions[:, :2], axis=0) for e in episodes])
    agree = np.corrcoef(commanded.ravel(), done.ravel())[0, 1]
    left = sum(bool((np.abs(e.centres[..., :2]) > BIN).any()) for e in episodes)
    print(f"MuJoCo {mujoco.__version__}, {len(episodes)} sequences, seed {arguments.seed}")
    print(f"frames/s on one core, files written: {frames / seconds:.0f}")
    print(f"frames per second of processor time: {frames / seconds_cpu:.0f}")
    print(f"sequences that move an object by more than 2 px: {100 * np.mean(moved > 2):.1f} %")
    print(f"the same within frames 1 to 11:                  {100 * np.mean(early > 2):.1f} %")
    print(f"objects that move by more than 2 px:             {100 * np.mean(touched):.1f} %")
    print(f"sequences in which an object leaves the bin: {left}")
    print(f"standard deviation of dx, dy: {commanded.std(axis=0).round(4)} m a frame")
    print(f"correlation of command and motion of the gripper: {agree:.3f}")
    print(f"copy the last frame, 2 -> 10: {psnr.mean():.2f} dB (sd {psnr.std():.2f})")


if __name__ == "__main__":
    main()
