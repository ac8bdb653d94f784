"""Evaluation: a protocol, the model and its baselines side by side, one table and one JSON card."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import foreframe
from foreframe.checkpoint import load_model
from foreframe.clip import Clip
from foreframe.data.batches import evaluation_batches
from foreframe.data.dataset import open_split, require
from foreframe.data.store import Store
from foreframe.device import choose_device
from foreframe.errors import ForeframeError
from foreframe.files import whole_file, write_json
from foreframe.metrics import PSNR_PROTOCOL, SSIM_PROTOCOL, psnr, ssim
from foreframe.model import VideoCVAE
from foreframe.places import Place
from foreframe.sampling import score_futures

EVALUATION = "evaluation.json"
EVALUATION_FRAMES = "evaluation.npz"


@dataclass(frozen=True)
class Protocol:
    """What a number needs beside it to mean something."""

    name: str = "lab"
    """Name of the protocol."""
    n_past: int = 2
    """Given frames."""
    n_future: int = 10
    """Predicted frames, all of them scored."""
    samples: int = 1
    """Futures drawn from the prior for each sequence; the first is scored."""
    split: str = "test"
    """Split of the dataset."""
    seed: int = 0
    """Seed of z and of the permutation."""


def sequence_noise(seed: int, index: int, samples: int, steps: int, z_dim: int) -> Tensor:
    """Noise [samples, steps, z_dim] of one sequence, whatever batch it is evaluated in."""
    state = np.random.SeedSequence((seed, 2, index)).generate_state(1, np.uint64)
    generator = torch.Generator().manual_seed(int(state[0]) >> 1)
    return torch.randn(samples, steps, z_dim, generator=generator)


def permutation_without_fixed_points(n: int, seed: int) -> np.ndarray:
    """A random cyclic permutation of n >= 2 things: none keeps its place (Sattolo 1986)."""
    order = np.arange(n)
    random = np.random.default_rng((seed, 3))
    for i in range(n - 1, 0, -1):
        j = int(random.integers(i))
        order[i], order[j] = order[j], order[i]
    return order


def evaluate(
    run: Path,
    data: Place,
    protocol: Protocol | None = None,
    *,
    limit: int | None = None,
    batch_size: int = 16,
    keep: int = 4,
    device: str = "auto",
    command: str = "",
    out: Path | None = None,
    log: Callable[[str], None] = print,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Score a run's best weights beside its baselines and write ``evaluation.json`` into ``out``.

    The baselines: the last given frame copied; and the model given the whole condition (past and
    future) of another sequence, with the same noise of z. The drop of the latter says how much the
    model listens to its condition. Computed in float32, in evaluation mode.

    Args:
        run: the run folder.
        data: root of the dataset.
        protocol: by default the lab's, 2 -> 10 on the test split.
        limit: score only the first sequences.
        batch_size: sequences at once; changes no number beyond rounding.
        keep: sequences (the first ones) whose frames are kept for the report.
        device: "auto", "cpu", "cuda" or "mps".
        command: the command that was run, for the card.
        out: folder of the card, by default the run's.
        log: told about data that are converted.
        progress: called with (sequences done, all).

    Returns:
        the card, as written.

    Raises:
        ForeframeError: the run or the data do not serve.
    """
    protocol = protocol or Protocol()
    _check(protocol, limit)
    chosen = choose_device(device)
    model = load_model(run, chosen)
    config = model.config
    store = open_split(data, protocol.split, size=config.image_size, log=log, progress=progress)
    n_frames = protocol.n_past + protocol.n_future
    require(store, n_frames=n_frames, needs=config.needs)
    n = len(store) if limit is None else min(limit, len(store))
    order = permutation_without_fixed_points(n, protocol.seed) if n > 1 else None
    permute = order is not None and config.condition != "none"

    names = ["model", "copy-last"] + (["permuted"] if permute else [])
    scores: dict[str, dict[str, list[Tensor]]] = {k: {"psnr": [], "ssim": []} for k in names}
    kept: list[tuple[Tensor, Tensor]] = []
    done = 0
    for clip in evaluation_batches(store, n_frames=n_frames, batch_size=batch_size, limit=n):
        indices = range(done, done + len(clip))
        noise = torch.stack(
            [
                sequence_noise(protocol.seed, k, protocol.samples, n_frames - 1, config.z_dim)
                for k in indices
            ]
        )
        x = clip.to(chosen).as_float().frames
        past, truth = x[:, : protocol.n_past], x[:, protocol.n_past :]
        copied = past[:, -1:].expand_as(truth)
        scores["copy-last"]["psnr"].append(psnr(copied, truth).cpu())
        scores["copy-last"]["ssim"].append(ssim(copied, truth).cpu())
        conditions = {"model": clip}
        if permute and order is not None:
            conditions["permuted"] = _conditions_of(
                store, [int(order[k]) for k in indices], n_frames, clip
            )
        for name, told in conditions.items():
            scored = score_futures(
                model,
                past,
                truth,
                told.actions,
                told.positions,
                noise[:, :1],  # the first sample is the one that counts
                keep_first=name == "model" and done < keep,
            )
            scores[name]["psnr"].append(scored.psnr[:, 0].cpu())
            scores[name]["ssim"].append(scored.ssim[:, 0].cpu())
            if scored.first is not None:
                shown = torch.cat([clip.frames[:, : protocol.n_past], scored.first.cpu()], 1)
                kept.append((clip.frames[: keep - done], shown[: keep - done]))
        done += len(clip)
        progress(done, n)

    out = run if out is None else out
    card = _card(model, protocol, scores, n, permute, command, data)
    _write_frames(out / EVALUATION_FRAMES, kept, protocol.n_past)
    write_json(out / EVALUATION, card)
    return card


def _check(protocol: Protocol, limit: int | None) -> None:
    for name, value, least in (
        ("n-past", protocol.n_past, 1),
        ("n-future", protocol.n_future, 1),
        ("samples", protocol.samples, 1),
        ("seed", protocol.seed, 0),
        ("limit", limit, 1),
    ):
        if value is not None and value < least:
            raise ForeframeError(f"--{name} {value}: must be at least {least}.")


def _conditions_of(store: Store, indices: list[int], n_frames: int, clip: Clip) -> Clip:
    """``clip`` with the actions and positions of the sequences ``indices`` instead of its own."""
    others = [store[k] for k in indices]

    def stack(parts: list[np.ndarray | None]) -> Tensor | None:
        rows = [part[:n_frames] for part in parts if part is not None]
        return torch.from_numpy(np.stack(rows)) if len(rows) == len(parts) else None

    return Clip(
        clip.frames,
        stack([other.actions for other in others]),
        stack([other.positions for other in others]),
    )


def _card(
    model: VideoCVAE,
    protocol: Protocol,
    scores: dict[str, dict[str, list[Tensor]]],
    n: int,
    permuted: bool,
    command: str,
    data: Place,
) -> dict[str, Any]:
    config = model.config
    labels = {
        "model": ("foreframe", config.condition_name),
        "copy-last": ("copy the last given frame", "no condition"),
        "permuted": (
            "foreframe, permuted condition",
            f"{config.condition_name}, another sequence's",
        ),
    }
    rows: list[dict[str, Any]] = []
    for name, (label, condition) in labels.items():
        row: dict[str, Any] = {"name": name, "label": label, "condition": condition}
        for metric in ("psnr", "ssim"):
            if name in scores:
                per_step = torch.cat(scores[name][metric]).double()
                row[metric] = per_step.mean(1).mean().item()
                row[f"{metric}_per_step"] = per_step.mean(0).tolist()
            else:
                row[metric], row[f"{metric}_per_step"] = None, None
        if name == "permuted" and not permuted:
            row["why_none"] = (
                "the model has no condition"
                if config.condition == "none"
                else "a single sequence has no other condition to be given"
            )
        rows.append(row)
    return {
        "protocol": {
            **asdict(protocol),
            "sequences": n,
            "condition": config.condition,
            "timing": config.timing,
            "psnr": PSNR_PROTOCOL,
            "ssim": SSIM_PROTOCOL,
        },
        "data": str(data),
        "command": command,
        "foreframe": foreframe.__version__,
        "torch": torch.__version__,
        "rows": rows,
    }


def _write_frames(path: Path, kept: list[tuple[Tensor, Tensor]], n_past: int) -> None:
    truth, prediction = (
        torch.cat(parts).permute(0, 1, 3, 4, 2).numpy() for parts in zip(*kept, strict=True)
    )
    with whole_file(path) as aside, open(aside, "wb") as file:
        np.savez_compressed(file, truth=truth, prediction=prediction, n_past=np.array(n_past))
