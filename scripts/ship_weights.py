"""Put the best weights of a run among the models that come with the package.

    python scripts/ship_weights.py runs/push push

writes ``src/foreframe/runs/shipped/push`` in half precision, and the run's settings and history to
``docs/results/push``. Score it afterwards as any model:

    foreframe evaluate src/foreframe/runs/shipped/push --data data/push4k --out docs/results/push
"""

import shutil
import sys
from pathlib import Path

from foreframe.runs.folder import HISTORY, RUN_CONFIG
from foreframe.runs.shipped import write_half

ROOT = Path(__file__).parents[1]


def main(run: Path, name: str) -> None:
    """Write the model and what is to be known of its training."""
    out = ROOT / "src" / "foreframe" / "runs" / "shipped" / name
    results = ROOT / "docs" / "results" / name
    for folder in (out, results):
        folder.mkdir(parents=True, exist_ok=True)
    write_half(run, out)
    for file in (RUN_CONFIG, HISTORY):
        shutil.copyfile(run / file, results / file)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
