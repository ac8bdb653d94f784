"""Data in and data out: reading batches from a store and from PNG, importing BAIR-form TFRecords.

    python benchmarks/data.py                 everything, with about 250 MB of TFRecords
    python benchmarks/data.py --gigabytes 2   the same with a tar of 2 GB
    python benchmarks/data.py --kills 3       and is the import killed so often, ends it the same?

Everything is compared within one run, on warm files. The pictures are the simulator's.
"""

import argparse
import contextlib
import csv
import hashlib
import io
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from foreframe.data.exports.lab import export_lab
from foreframe.data.imports.importing import import_dataset
from foreframe.data.lab import list_sequences, read_sequence
from foreframe.data.sources.bair import BairSource
from foreframe.data.sources.tfrecord import encode_example, frame_record
from foreframe.data.store.store import Store
from foreframe.simulator.simulate import SimulateOptions, simulate
from foreframe.system.workers import Execution

N_FRAMES, BATCH, FRAMES = 12, 20, 30
PER_FILE = 256


def records(data: Path) -> list[bytes]:
    """Each simulated training sequence as a framed BAIR-form record; both cameras are the same."""
    made = []
    for folder in list_sequences(data, "train"):
        sequence = read_sequence(folder)
        features: dict[str, bytes | list[bytes] | np.ndarray] = {}
        for t in range(len(sequence.frames)):
            for camera in ("aux1", "main"):
                features[f"{t}/image_{camera}/encoded"] = sequence.frames[t].tobytes()
            features[f"{t}/action"] = sequence.actions[t]
            features[f"{t}/endeffector_pos"] = sequence.positions[t]
        made.append(frame_record(encode_example(features)))
    return made


def write_tar(path: Path, made: list[bytes], gigabytes: float) -> None:
    """A tar of files of 256 records until it has that size; later records repeat the first."""
    size = sum(len(made[k % len(made)]) for k in range(PER_FILE))
    files = max(3, round(gigabytes * 1e9 / size))
    with tarfile.open(path, "w") as tar:
        for n in range(files):
            first = n * PER_FILE
            data = b"".join(made[(first + k) % len(made)] for k in range(PER_FILE))
            folder = "test" if n == 0 else "train"
            name = f"softmotion30_44k/{folder}/traj_{first}_to_{first + PER_FILE - 1}.tfrecords"
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def png_batch(folders: list[Path], draw: np.random.Generator) -> np.ndarray:
    """A batch as the lab's loader reads it: 12 of 30 PNG and the two CSV of each sequence."""
    frames, conditions = [], []
    for k in draw.integers(len(folders), size=BATCH):
        start = int(draw.integers(FRAMES - N_FRAMES + 1))
        frames.append(
            [
                np.asarray(Image.open(folders[k] / f"{t}.png").convert("RGB"))
                for t in range(start, start + N_FRAMES)
            ]
        )
        for name in ("actions.csv", "endeffector_positions.csv"):
            with open(folders[k] / name, newline="") as file:
                rows = [[float(cell) for cell in row] for row in csv.reader(file)]
            conditions.append(rows[start : start + N_FRAMES])
    return np.array(frames)


def rate(make, seconds: float) -> float:
    """Sequences a second of something that makes batches."""
    make(0)
    begun, batches = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        batches += 1
        make(batches)
    return batches * BATCH / (time.perf_counter() - begun)


def read_rates(store_root: Path, lab_root: Path) -> None:
    # Here, so that the process of the import, which begins with this file, has no PyTorch either.
    from foreframe.data.store.batches import training_batch

    store = Store(store_root / "train")
    folders = list_sequences(lab_root, "train")
    draw = np.random.default_rng(0)
    rates: dict[str, list[float]] = {"png": [], "store": []}
    for _ in range(3):  # in turn, so that both see the machine in the same moods
        rates["png"].append(rate(lambda k: png_batch(folders, draw), 2))
        rates["store"].append(
            rate(
                lambda k: training_batch(
                    store, n_frames=N_FRAMES, batch_size=BATCH, seed=0, global_step=k
                ),
                2,
            )
        )
    png, fast = (float(np.median(rates[name])) for name in ("png", "store"))
    print(f"PNG by PNG, one worker   {png:10.0f} sequences/s ({N_FRAMES} of {FRAMES} frames)")
    print(f"store, one worker        {fast:10.0f} sequences/s")
    print(f"ratio                    {fast / png:10.1f}")


def _import(tar: str, out: str, results) -> None:
    begun = time.perf_counter()
    cpu = time.process_time()
    import_dataset(
        BairSource(Path(tar)), Path(out), execution=Execution(workers=1), log=lambda text: None
    )
    results.put((time.perf_counter() - begun, time.process_time() - cpu))


def import_rate(tar: Path, out: Path) -> None:
    """One worker, in a fresh process."""
    with open(tar, "rb") as file:  # warm
        while file.read(1 << 24):
            pass
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    process = context.Process(target=_import, args=(str(tar), str(out), results))
    process.start()
    seconds, cpu = results.get()
    process.join()
    megabytes = tar.stat().st_size / 1e6
    print(f"import, one worker       {megabytes / seconds:10.0f} MB/s of {megabytes:,.0f} MB")
    print(f"  of processor time      {megabytes / cpu:10.0f} MB/s")


def import_command(tar: Path, out: Path) -> list[str]:
    return [str(Path(sys.executable).with_name("foreframe")), "import", "bair", str(tar), str(out)]


def import_memory(tar: Path, out: Path) -> None:
    """The command with every core: the most that all its processes hold at one moment."""
    process = psutil.Popen(import_command(tar, out), stdout=subprocess.DEVNULL)
    most, workers = 0, 0
    while process.poll() is None:
        total = 0
        with contextlib.suppress(psutil.Error):
            family = [process, *process.children(recursive=True)]
            workers = max(workers, len(family) - 1)
            for one in family:
                with contextlib.suppress(psutil.Error):
                    total += one.memory_info().rss
        most = max(most, total)
        time.sleep(0.02)
    if process.returncode:
        raise SystemExit("the import failed")
    print(f"import, peak memory      {most / 1e6:10.0f} MB ({workers + 1} processes together)")


def digest(out: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(out.rglob("*")):
        if path.is_file():
            with open(path, "rb") as file:
                total.update(f"{path.relative_to(out)}\0".encode())
                total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def kill_and_go_on(tar: Path, expected: Path, out: Path, kills: int) -> None:
    """The import as a command, killed outright at random moments, then left to end."""
    command = import_command(tar, out)
    timed = out.with_name("timed")
    begun = time.perf_counter()
    subprocess.run(import_command(tar, timed), check=True, stdout=subprocess.DEVNULL)
    whole = time.perf_counter() - begun
    shutil.rmtree(timed)
    for _ in range(kills):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
        wait = random.uniform(0.1, 0.9) * whole
        time.sleep(wait)
        ended = process.poll() is not None
        process.kill()
        process.wait()
        parts = len(list(out.glob(".import/traj*.json")))
        said = "had ended" if ended else f"{parts} parts were done"
        print(f"killed after {wait:5.1f} s of {whole:.1f} s: {said}")
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    print(f"the same bytes           {digest(out) == digest(expected)!s:>10s}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=0.25, help="size of the tar")
    parser.add_argument("--sequences", type=int, default=60, help="simulated sequences")
    parser.add_argument("--kills", type=int, default=0, help="times the import is killed")
    parser.add_argument("--folder", type=Path, help="where the files go (default: temporary)")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores; Python {sys.version.split()[0]}, NumPy {np.__version__}")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        work = Path(folder)
        simulate(work / "push", SimulateOptions(sequences=options.sequences))
        write_tar(work / "bair.tar", records(work / "push"), options.gigabytes)
        import_rate(work / "bair.tar", work / "store")
        import_memory(work / "bair.tar", work / "again")
        shutil.rmtree(work / "again")
        if options.kills:
            kill_and_go_on(work / "bair.tar", work / "store", work / "killed", options.kills)
        few = work / "few"
        (few / "train").mkdir(parents=True)
        source = Store(work / "store" / "train")
        name = source.shards[0].folder.name
        shutil.copytree(work / "store" / "train" / name, few / "train", dirs_exist_ok=True)
        export_lab(few, work / "lab")
        read_rates(few, work / "lab")


if __name__ == "__main__":
    main()
