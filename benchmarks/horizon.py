"""PSNR of every predicted step over a split, beside copying the last given frame."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foreframe.data.store.batches import evaluation_batches
from foreframe.data.store.store import Store
from foreframe.evaluation.sampling import noise_of_batch, score_futures
from foreframe.metrics import METRICS, psnr
from foreframe.metrics.intervals import CONFIDENCE, bootstrap, paired
from foreframe.runs.hub import VideoCVAE
from foreframe.system.files import whole_file, write_json
from foreframe.visuals.charts import COLOURS, dress_axes, new_figure

PAST, FUTURE = 2, 28
FRAMES = PAST + FUTURE


def horizon(
    model: VideoCVAE, store: Store, device: torch.device, seed: int
) -> dict[str, np.ndarray]:
    """PSNR [sequences, FUTURE] of one sample each, and of the last given frame copied."""
    found: dict[str, list[Tensor]] = {"model": [], "copy": []}
    at = 0
    for clip in evaluation_batches(store, n_frames=FRAMES, batch_size=16):
        x = clip.to(device).as_float().frames
        past, truth = x[:, :PAST], x[:, PAST:]
        noise = noise_of_batch(seed, range(at, at + len(clip)), 1, FRAMES, model.config.z_dim)
        scores = score_futures(
            model, past, truth, clip.actions, clip.positions, noise, metrics=[METRICS["psnr"]]
        )
        found["model"].append(scores.values["psnr"][:, 0])
        found["copy"].append(psnr(past[:, -1:], truth))
        at += len(clip)
    return {name: torch.cat(parts).double().cpu().numpy() for name, parts in found.items()}


def draw_horizon(out: Path, values: dict[str, np.ndarray], trained: int | None) -> None:
    """``horizon.json`` and ``horizon.png``: means with bootstrap intervals over the sequences."""
    card: dict[str, Any] = {"past": PAST, "future": FUTURE, "sequences": len(values["model"])}
    card |= {
        "metric": METRICS["psnr"].definition,
        "confidence": CONFIDENCE,
        "trained_future": trained,
    }
    names = {"model": "model, one sample", "copy": "copying the last given frame"}
    figure = new_figure((8.4, 5.0))
    ax = figure.subplots()
    steps = list(range(1, FUTURE + 1))
    ends = []
    drawn = zip(names.items(), ("chart-1", "chart-2"), ("-", "--"), strict=True)
    for (key, label), colour, dash in drawn:
        mean = values[key].mean(0)
        low, high = np.transpose([bootstrap(column) for column in values[key].T])
        card[key] = {"mean": mean.tolist(), "low": low.tolist(), "high": high.tolist()}
        ax.fill_between(steps, low, high, color=COLOURS[colour], alpha=0.2, linewidth=0)
        line = ax.plot(steps, mean, dash, color=COLOURS[colour], label=label)[0]
        line.set(linewidth=2, marker="o", markersize=3.5)
        ends += [low.min(), high.max()]
    gains = [paired(a, b) for a, b in zip(values["model"].T, values["copy"].T, strict=True)]
    card["gain"] = {part: [getattr(g, part) for g in gains] for part in ("mean", "low", "high")}
    falls = -np.diff(card["model"]["mean"])
    card["largest_fall"] = {"to_step": int(falls.argmax()) + 2, "db": float(falls.max())}
    dress_axes(ax, "predicted frame", steps, ends, logarithmic=False)
    ink = COLOURS["chart-ink"]
    if trained is not None and trained < FUTURE:
        ax.axvline(trained, color=ink, linewidth=1, linestyle=":", label="as far as training goes")
    title = f"PSNR in dB, mean of {card['sequences']} sequences; bands: 95 % of the bootstrap"
    ax.set_title(title, loc="left", fontsize=11, color=ink)
    ax.legend(frameon=False, labelcolor=ink)
    figure.patch.set(facecolor="white", alpha=1.0)
    with whole_file(out / "horizon.png") as aside:
        figure.savefig(aside, format="png", dpi=120)
    write_json(out / "horizon.json", card)
