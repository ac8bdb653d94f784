"""Trainings killed, files damaged, records mutated: what is lost, and what is taken for good.

    python benchmarks/faults.py                                 # a minute or two
    python benchmarks/faults.py --kills 50 --damages 2000 --mutations 10000 --inputs 10000 --write

- Kills: real ``foreframe train`` processes on a tiny dataset, ended at random moments by each
  signal in each precision and gone on with, until the training is done. Its weights, its
  optimiser's moments and its averages must be those of a training in one go, bit for bit, and
  nothing half-written may be left.
- Damages: a bit, 200 bytes, a block of zeros, the header, cut, appended; of the last checkpoint and
  of the best weights. Each must be refused or change nothing.
- Mutations: values and bytes of run.json, of a store's meta.json and of the progress. Each must be
  refused in words, or be read as something that can be true.
- Inputs: Hypothesis mutates files of every form that is read, as they are or with their checksums
  made new. Each is read in a process that may hang, crash or hold too much. What is a fault is kept
  in tests/faults/corpus.
- Checksums: their speed, beside that of a copy in memory.
"""

import collections
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from mutating import campaign
from results import options, publish, set_up, table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from foreframe.data.store.meta import META  # noqa: E402
from foreframe.data.store.store import Store  # noqa: E402
from foreframe.errors import ForeframeError  # noqa: E402
from foreframe.runs.folder import BEST, LAST, RUN_CONFIG, saved_config  # noqa: E402
from foreframe.runs.sealed import digest, read_sealed  # noqa: E402
from foreframe.runs.weights import read_tensors  # noqa: E402
from foreframe.training.progress import read_progress  # noqa: E402
from tests.faults.damage import KINDS, damaged, mutated  # noqa: E402
from tests.faults.inputs import INPUTS  # noqa: E402

STORE = ROOT / "tests" / "data" / "v0.1" / "store"
SETTINGS = """
    --net dcgan64 --width 0.03125 --g-dim 8 --z-dim 2 --rnn-size 8 --epochs 4 --batch-size 2
    --n-future 3 --steps-per-epoch 12 --checkpoint-every 3 --kl-schedule constant
    --teacher-forcing always --ema 0.9 --sample-every 9 --device cpu --threads 1
""".split()  # noqa: SIM905 (as one types it)
SIGNALS = {
    "SIGKILL": (signal.SIGKILL,),
    "SIGTERM": (signal.SIGTERM,),
    "Ctrl-C twice": (signal.SIGINT, signal.SIGINT),
}


def command(run: Path, precision: str, *more: str) -> list[str]:
    words = ["svg-fp", "--data", str(STORE), "--out", str(run), "--precision", precision]
    return [sys.executable, "-m", "foreframe", "train", *words, *SETTINGS, *more]


def train(run: Path, precision: str, *more: str) -> None:
    done = subprocess.run(command(run, precision, *more), capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{run}: ended with {done.returncode}: {done.stderr}")


def held(path: Path) -> tuple[object, object]:
    tensors, metadata = read_tensors(path)
    return metadata, {name: (x.dtype, x.numpy().tobytes()) for name, x in tensors.items()}


def interrupted(run: Path, precision: str, kind: str, kills: int, whole: float) -> int:
    """Begin a training and end it at random moments; returns how often it was ended."""
    ended = 0
    for _ in range(kills):
        begun = (run / RUN_CONFIG).exists()
        process = subprocess.Popen(
            command(run, precision, *(["--resume"] if begun else [])),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        # Starting up takes the most of it, and is no moment to lose anything.
        wait = random.uniform(0.2, 1.1) * whole
        try:
            process.wait(wait)
            said = process.stderr.read()
        except subprocess.TimeoutExpired:
            for number in SIGNALS[kind]:
                process.send_signal(number)
            _, said = process.communicate()
            ended += 1
        if "Traceback" in said or "foreframe: error" in said:
            sys.exit(f"{run}: {said}")
    return ended


def kill_table(place: Path, kills: int) -> str:
    rows = []
    for precision in ("fp32", "bf16"):
        begun = time.monotonic()
        train(place / precision, precision)
        whole = time.monotonic() - begun
        expected = held(place / precision / LAST)[1]
        for kind in SIGNALS:
            counts: collections.Counter[str] = collections.Counter()
            begun = time.monotonic()
            while counts["kills"] < kills:
                run = place / f"{precision}-{kind}-{counts['runs']}".replace(" ", "-")
                few = min(3, kills - counts["kills"])
                counts["kills"] += max(interrupted(run, precision, kind, few, whole), 1)
                counts["left"] += len(list(run.rglob("*.part")))
                train(run, precision, *(["--resume"] if (run / RUN_CONFIG).exists() else []))
                counts["runs"] += 1
                counts["same"] += held(run / LAST)[1] == expected
                counts["still"] += len(list(run.rglob("*.part")))
            rows.append(
                [
                    f"{kind}, {precision}",
                    str(counts["kills"]),
                    f"{counts['same']} of {counts['runs']}",
                    str(counts["left"]),
                    str(counts["still"]),
                    f"{time.monotonic() - begun:.0f}",
                ]
            )
    heads = ["training ended by", "times", "bit-identical", ".part left", "after resume", "s"]
    return "**Trainings ended at random moments and gone on with.**\n\n" + table(heads, rows)


def damage_table(run: Path, place: Path, damages: int) -> str:
    rows = []
    for name in (LAST, BEST):
        content, expected = (run / name).read_bytes(), held(run / name)
        counts: dict[str, collections.Counter[str]] = {
            kind: collections.Counter() for kind in KINDS
        }
        for number in range(damages):
            kind, spoilt = damaged(content, number)
            (place / name).write_bytes(spoilt)
            outcome = tried(lambda path=place / name: held(path))
            same = outcome == expected
            counts[kind]["refused" if outcome is None else "same" if same else "other"] += 1
        rows += [
            [f"{name}: {kind}", *(str(counts[kind][c]) for c in ("refused", "same", "other"))]
            for kind in KINDS
        ]
        total = [sum(counts[kind][c] for kind in KINDS) for c in ("refused", "same", "other")]
        rows.append([f"{name}: all {damages}", *map(str, total)])
    heads = ["damage", "refused", "changed nothing", "taken for good"]
    return "**Damaged weights.**\n\n" + table(heads, rows)


def tried(read: Callable[[], object]) -> object:
    """What was read, or None if it was refused in words; another error ends the benchmark."""
    try:
        return read()
    except ForeframeError:
        return None


def mutation_table(run: Path, place: Path, mutations: int) -> str:
    import shutil

    store = Path(shutil.copytree(STORE / "train", place / "train"))
    train_config = saved_config(run).train
    progress = read_sealed(run / LAST).metadata["progress"]

    def frames() -> object:
        opened = Store(store)
        opened.require_sound()
        opened.statistics()
        return [recording.frames.tobytes() for recording in opened]

    expected = frames()

    def of_settings(spoilt: bytes) -> object:
        (place / RUN_CONFIG).write_bytes(spoilt)
        return saved_config(place)

    def of_store(spoilt: bytes) -> object:
        (store / META).write_bytes(spoilt)
        taken = frames()
        if taken != expected:
            sys.exit(f"other frames were taken: {spoilt!r}")
        return taken

    def of_progress(spoilt: bytes) -> object:
        return read_progress(spoilt.decode("utf-8", "replace"), train_config, run / LAST)

    rows = []
    for what, text, read in (
        (RUN_CONFIG, (run / RUN_CONFIG).read_text(), of_settings),
        (f"a store's {META}", (store / META).read_text(), of_store),
        ("progress", progress, of_progress),
    ):
        begun, refused, longest = time.monotonic(), 0, 0.0
        for number in range(mutations):
            at = time.monotonic()
            spoilt = mutated(text, number)
            refused += tried(lambda read=read, spoilt=spoilt: read(spoilt)) is None
            longest = max(longest, time.monotonic() - at)
        taken = time.monotonic() - begun
        rows.append(
            [what, str(mutations), str(refused), "0", f"{longest * 1e3:.0f}", f"{taken:.0f}"]
        )
    heads = ["mutated", "times", "refused", "tracebacks", "longest, ms", "s"]
    return "**Mutated records.**\n\n" + table(heads, rows)


def input_table(inputs: int, seed: int) -> str:
    rows, faults = [], []
    for name in INPUTS:
        begun = time.monotonic()
        found = campaign(name, -(-inputs // len(INPUTS)), seed)
        faults += [f"{name}: {fault}" for fault in found.faults]
        counts = [found.counts.get(key, 0) for key in ("tried", "refused", "taken")]
        taken = time.monotonic() - begun
        cells = [*counts, len(found.faults), f"{found.longest:.2f}", f"{found.megabytes:.0f}"]
        rows.append([name, *map(str, cells), f"{taken:.0f}"])
        print(*rows[-1], sep=" | ", flush=True)
    if faults:
        print(*faults, sep="\n\n", file=sys.stderr)
    heads = ["input", "times", "refused", "taken, in part or whole", "faults", "longest, s"]
    return (
        "**Mutated inputs.** A fault is a traceback, a hang, a crash, more than 1 GB, or content "
        + (
            "that was never written where there is a checksum.\n\n"
            + table([*heads, "memory beyond, MB", "s"], rows)
        )
    )


def speed_table(megabytes: int = 256) -> str:
    tensors = {"x": torch.randn(megabytes << 18)}
    rows = []
    for what, work in (
        ("SHA-256 of the tensors", lambda: digest(tensors, {})),
        ("a copy in memory", tensors["x"].clone),
    ):
        begun = time.process_time()
        work()
        rows.append([what, f"{megabytes * 1.048576e-3 / (time.process_time() - begun):.2f}"])
    return "**Speed of checksums**, one core.\n\n" + table(["", "GB/s"], rows)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--kills", type=int, default=3, help="of each signal in each precision")
    parser.add_argument("--damages", type=int, default=200, help="of each weights file")
    parser.add_argument("--mutations", type=int, default=1000, help="of each kind of record")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the moments of the kills, and of the inputs"
    )
    parser.add_argument("--inputs", type=int, default=300, help="of all kinds together")
    given = parser.parse_args()
    device = set_up(given)
    random.seed(given.seed)
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        inputs = input_table(given.inputs, given.seed)
        kills = kill_table(place, given.kills)
        run = place / "fp32"
        tables = [
            kills,
            inputs,
            damage_table(run, place, given.damages),
            mutation_table(run, place, given.mutations),
            speed_table(),
        ]
    publish(given, device, "faults", "## Faults\n\n" + "\n".join(tables))


if __name__ == "__main__":
    main()
