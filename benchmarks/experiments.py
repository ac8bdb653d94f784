"""Trainings one after another in the background, each to its end, one JSON line a result.

    nohup nice python benchmarks/experiments.py experiments.txt --data data/push --out runs/queue &

``experiments.txt`` has a line for each: a name, a colon, and what follows ``foreframe train``:

    small-s: foreframe-s
    m-480: foreframe-m --epochs 12 --steps-per-epoch 48

Called again it goes on where it was: what has a line in the results is done, and what was under
way is resumed, exactly. Every training has one thread, so that another process on the machine does
not slow it down tenfold. The results lie beside the list, as ``experiments.jsonl``; they hold the
validation split's numbers alone. The test split is for what is published.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

from foreframe import __version__
from foreframe.runs.folder import HISTORY, RUN_CONFIG

ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


def listed(path: Path) -> dict[str, list[str]]:
    """The trainings of a list: the words after ``foreframe train``, by name."""
    trainings: dict[str, list[str]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        name, colon, words = text.partition(":")
        if not colon or not words.strip() or name in trainings:
            sys.exit(f"{path}:{number}: give NAME: RECIPE [OPTIONS], each name once.")
        trainings[name.strip()] = shlex.split(words)
    return trainings


def train(words: list[str], data: str, run: Path) -> None:
    """One training, begun or gone on with."""
    command = [
        sys.executable,
        "-m",
        "foreframe",
        "train",
        *words,
        "--data",
        data,
        "--out",
        str(run),
    ]
    if (run / RUN_CONFIG).exists():
        command.append("--resume")
    subprocess.run(command, env=ONE_THREAD, check=True)


def result(name: str, words: list[str], run: Path) -> dict[str, object]:
    """What a training reached on the validation split, and what it took."""
    rows = json.loads((run / HISTORY).read_text(encoding="utf-8"))
    best = max(rows, key=lambda row: row["validation_psnr"])
    return {
        "name": name,
        "command": shlex.join(["foreframe", "train", *words]),
        "validation_psnr": best["validation_psnr"],
        "best_epoch": best["epoch"] + 1,
        "last_validation_psnr": rows[-1]["validation_psnr"],
        "training_psnr": rows[-1]["psnr"],
        "seconds": sum(row["seconds"] for row in rows),
        "foreframe": __version__,
    }


def main() -> None:
    """Work through the list."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("list", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    results = given.list.with_suffix(".jsonl")
    done = set()
    if results.exists():
        lines = results.read_text(encoding="utf-8").splitlines()
        done = {json.loads(line)["name"] for line in lines}
    for name, words in listed(given.list).items():
        if name in done:
            continue
        train(words, given.data, given.out / name)
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result(name, words, given.out / name)) + "\n")


if __name__ == "__main__":
    main()
