"""Many futures of a batch of sequences, imagined and scored: best-of-K PSNR and SSIM.

    python benchmarks/sample.py                          vgg64, 100 futures of 28 frames each
    python benchmarks/sample.py --net dcgan64 --sequences 8

Plain: one future at a time, as the public generator of SVG does it, all frames kept and scored at
the end with the SSIM of torchmetrics. foreframe: what `foreframe evaluate` runs. All have the same
weights, pictures and noise, and each is a process of its own, so that its memory can be told.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import results
from benchmarks.plain import PlainModel
from foreframe.config.model import ModelConfig
from foreframe.evaluation.sampling import score_futures
from foreframe.metrics import psnr
from foreframe.runs.hub import VideoCVAE
from foreframe.system.device import autocast, has_fast_bf16

KINDS = {
    "plain": "plain, fp32",
    "fp32": "foreframe, fp32",
    "bf16": "foreframe, bf16",
}


def arguments() -> argparse.Namespace:
    parser = results.options(__doc__)
    parser.add_argument("--net", default="vgg64")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--prior", choices=["fixed", "learned"], default="learned")
    parser.add_argument("--sequences", type=int, default=2)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--n-past", type=int, default=2)
    parser.add_argument("--n-future", type=int, default=28)
    parser.add_argument("--kind", choices=list(KINDS), help=argparse.SUPPRESS)
    return parser.parse_args()


def inputs(given: argparse.Namespace) -> tuple[VideoCVAE, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    config = ModelConfig(net=given.net, width=given.width, prior=given.prior, condition="actions")
    model = VideoCVAE(config)
    size, n_frames = config.frame_size[0], given.n_past + given.n_future
    coarse = torch.rand(given.sequences, 3, n_frames, 8, 8)
    frames = torch.nn.functional.interpolate(coarse, (n_frames, size, size), mode="trilinear")
    model.train()
    with torch.no_grad():  # running statistics that fit, so that the pictures are pictures
        for k in range(20):
            model.encoder.requires_grad_(False)
            h, skips = model.encoder(frames[:, :, k % n_frames])
            model.decoder(h, model.decoder.context(skips))
    actions = torch.randn(given.sequences, n_frames, 4)
    noise = torch.randn(given.sequences, given.samples, n_frames - 1, config.z_dim)
    return model.eval(), frames.transpose(1, 2).contiguous(), actions, noise


def plain_scores(
    model: VideoCVAE, frames: Tensor, actions: Tensor, noise: Tensor, n_past: int
) -> Tensor:
    """[2, B, K, n_future]: PSNR and SSIM of each frame."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    plain = PlainModel(model).to(frames.device).eval()
    past, truth = frames[:, :n_past].transpose(0, 1), frames[:, n_past:]
    made = [
        torch.stack(plain.sample(past, actions.transpose(0, 1), noise[:, k].transpose(0, 1)), 1)
        for k in range(noise.shape[1])
    ]
    scores = torch.empty(2, len(frames), noise.shape[1], truth.shape[1])
    for k, future in enumerate(made):
        for t in range(truth.shape[1]):
            scores[0, :, k, t] = psnr(future[:, t], truth[:, t])
            scores[1, :, k, t] = structural_similarity_index_measure(
                future[:, t], truth[:, t], data_range=1.0, reduction="none"
            )
    return scores


def measure(given: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    model, frames, actions, noise = inputs(given)
    model, frames, actions = model.to(device), frames.to(device), actions.to(device)
    past, truth = frames[:, : given.n_past], frames[:, given.n_past :]

    def run(samples: int) -> Tensor:
        own = noise[:, :samples]
        if given.kind == "plain":
            return plain_scores(model, frames, actions, own.to(device), given.n_past)
        with autocast(device, "bf16" if given.kind == "bf16" else "fp32"):
            scores = score_futures(model, past, truth, actions, None, own)
        return torch.stack([scores.values["psnr"], scores.values["ssim"]]).cpu()

    run(1)
    before = psutil.Process().memory_info().rss
    results.synchronise(device)
    begun = time.perf_counter()
    scores = run(given.samples)
    results.synchronise(device)
    taken = time.perf_counter() - begun
    on_device = device.type == "cuda"
    memory = torch.cuda.max_memory_allocated() if on_device else results.peak_resident() - before
    best = scores.mean(-1).max(-1).values.mean(-1)
    return {"seconds": taken, "memory": memory, "psnr": best[0].item(), "ssim": best[1].item()}


def main() -> None:
    given = arguments()
    device = results.set_up(given)
    if given.kind:
        print(json.dumps(measure(given, device)))
        return
    kinds = [kind for kind in KINDS if kind != "bf16" or has_fast_bf16(device)]
    found = {}
    for kind in kinds:
        done = subprocess.run(
            [sys.executable, *sys.argv, "--kind", kind], capture_output=True, text=True, check=True
        )
        found[kind] = json.loads(done.stdout.splitlines()[-1])
    frames = given.sequences * given.samples * given.n_future
    plain = found["plain"]
    rows = [
        [
            KINDS[kind],
            f"{one['seconds']:.1f}",
            f"{frames / one['seconds']:.1f}",
            f"{plain['seconds'] / one['seconds']:.2f}x",
            f"{one['memory'] / 1e6:.0f} MB ({one['memory'] / plain['memory']:.2f}x)",
            f"{one['psnr']:.3f} dB",
            f"{one['ssim']:.4f}",
        ]
        for kind, one in found.items()
    ]
    shown = (
        f"{given.net}, {given.samples} futures of {given.sequences} sequences, "
        f"{given.n_past} -> {given.n_future}"
    )
    best = f"best of {given.samples}"
    text = f"**Sampling and scoring: {shown}, {given.prior} prior, untrained weights.**\n\n"
    text += results.table(
        ["", "s", "frames/s", "speed", "memory needed", f"PSNR, {best}", f"SSIM, {best}"], rows
    )
    results.publish(given, device, f"sample {shown} {given.prior}", text)


if __name__ == "__main__":
    main()
