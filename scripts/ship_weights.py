"""Put the best weights of a run among the models that come with the package.

    python scripts/ship_weights.py runs/push push data/push4k

writes ``src/foreframe/runs/shipped/push`` in half precision; and to ``docs/results/push`` the run's
settings and history, and a GIF of the first four test recordings, 2 -> 28, first sample each,
unselected. Score it afterwards as any model:

    foreframe evaluate src/foreframe/runs/shipped/push --data data/push4k --out docs/results/push
"""

import json
import sys
from pathlib import Path

import torch

from foreframe import VideoCVAE
from foreframe.data.store.opened import open_split
from foreframe.runs.folder import HISTORY, RUN_CONFIG
from foreframe.runs.shipped import write_half
from foreframe.system.files import write_json
from foreframe.visuals import samples_gif

ROOT = Path(__file__).parents[1]
SHOWN, GIVEN, FRAMES = 4, 2, 30


def main(run: Path, name: str, data: Path) -> None:
    """Write the model and what is to be known of its training."""
    out = ROOT / "src" / "foreframe" / "runs" / "shipped" / name
    results = ROOT / "docs" / "results" / name
    write_half(run, out)
    settings = json.loads((run / RUN_CONFIG).read_text(encoding="utf-8"))
    dataset = settings.get("dataset") or {}
    # Where the data lay is of no use to anybody else; their fingerprint is.
    settings["data"] = dataset["path"] = data.name
    for folder in (out, results):
        write_json(folder / RUN_CONFIG, settings)
    for folder in (out, results):
        write_json(folder / HISTORY, json.loads((run / HISTORY).read_text(encoding="utf-8")))
    draw(VideoCVAE.from_pretrained(out), data, results / "samples.gif")


def draw(model: VideoCVAE, data: Path, path: Path) -> None:
    """What happened beside what the model expects, for the first test recordings."""
    store = open_split(data, "test")
    recordings = [store[k] for k in range(SHOWN)]
    frames = torch.stack([torch.tensor(r.frames[:FRAMES]) for r in recordings])
    actions = torch.stack([torch.tensor(r.actions)[:FRAMES] for r in recordings])
    futures = model.generate(
        frames[:, :GIVEN], actions, n_future=FRAMES - GIVEN, generator=torch.Generator()
    )
    predicted = torch.as_tensor(futures)[:, 0].movedim(2, -1).mul(255).round().byte()
    shown = torch.cat([frames[:, :GIVEN], predicted], 1)
    samples_gif(path, frames.numpy(), shown.numpy(), GIVEN)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
