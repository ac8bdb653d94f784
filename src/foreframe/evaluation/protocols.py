"""Protocols: everything that decides what a score means, under a name."""

from dataclasses import dataclass, replace
from typing import Literal

from foreframe.errors import ForeframeError
from foreframe.evaluation.options import EvaluateOptions

Select = Literal["first", "each", "psnr", "ssim", "ssim-svg", "psnr-frame"]
"""Which of a sequence's samples counts: the first, for each metric the best by itself, or for all
metrics the best by the one that is named."""

Interval = Literal["bootstrap", "normal"]


@dataclass(frozen=True)
class Protocol:
    """How a model is scored."""

    name: str = "lab"
    """Name of the protocol."""
    n_past: int = 2
    """Given frames."""
    n_future: int = 10
    """Predicted frames, all of them scored."""
    samples: int = 1
    """Futures drawn from the prior for each sequence."""
    metrics: tuple[str, ...] = ("psnr", "ssim")
    """Names of the metrics; the first of PSNR and the first of SSIM are the headlines."""
    select: Select = "first"
    """Which sample of each sequence counts."""
    counts_context: bool = False
    """Whether the given frames count in the mean, as perfect ones."""
    condition: Literal["actions"] | None = None
    """What the model must be conditioned on; None: whatever it is."""
    interval: Interval = "bootstrap"
    """Of the mean over sequences, 95 %: by the bootstrap or the normal approximation."""
    split: str = "test"
    """Split of the dataset."""
    seed: int = 0
    """Seed of z and of the permutation."""
    published: str = ""
    """Where its numbers are published, and on what they were measured."""
    doubts: tuple[str, ...] = ()
    """What is not certain of the definition, or differs from the published one."""
    changed: tuple[str, ...] = ()
    """What was set otherwise than the protocol's name says."""


_ACTION_FREE = (
    "The published numbers are of models that are told no actions; with a conditioned model the "
    "numbers do not compare."
)

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(published="the lab's report, on BAIR with actions and positions"),
        Protocol(
            name="svg",
            n_future=28,
            samples=100,
            metrics=("psnr", "ssim-svg", "ssim"),
            select="ssim-svg",
            published="Denton & Fergus 2018, on BAIR without actions",
            doubts=(
                _ACTION_FREE,
                "Of the published SSIM the data range of 2 is known, and the window follows from "
                "scikit-image's defaults of that time; SSIM with data range 1 stands beside.",
            ),
        ),
        Protocol(
            name="srvp",
            n_future=28,
            samples=100,
            metrics=("psnr-frame", "ssim"),
            select="each",
            interval="normal",
            published="Franceschi et al. 2020, on BAIR without actions",
            doubts=(
                _ACTION_FREE,
                "How the published SSIM treats the borders of a frame is not known.",
                "LPIPS and FVD belong to it: --lpips alex and --fvd-extractor FILE add them.",
            ),
        ),
        Protocol(
            name="ivideogpt",
            n_past=1,
            n_future=15,
            samples=100,
            metrics=("psnr-frame", "ssim"),
            select="each",
            counts_context=True,
            condition="actions",
            published="Wu et al. 2024, on BAIR with actions",
            doubts=(
                "The context frame counts in the mean. There it is a decoded one; here it is the "
                "given one, which scores 100 dB and 1: compare the values without it, which stand "
                "beside.",
                "LPIPS and FVD belong to it: --lpips vgg and --fvd-extractor FILE add them.",
            ),
        ),
        Protocol(
            name="mcvd",
            n_future=14,
            metrics=("psnr-video", "ssim-grey"),
            published="Voleti et al. 2022, on BAIR without actions",
            doubts=(
                _ACTION_FREE,
                "How many samples the published PSNR and SSIM are of is not certain; here one.",
                "There frames are rounded to 8 bits before they are scored; here they are not.",
                "FVD belongs to it: --fvd-extractor FILE adds it.",
            ),
        ),
    )
}
"""Every protocol by its name."""


def protocol_of(options: EvaluateOptions) -> Protocol:
    """The protocol that the options name, with their changes noted in ``changed``.

    Raises:
        ForeframeError: the protocol is unknown, or a number has no meaning.
    """
    options.check()
    if options.protocol not in PROTOCOLS:
        raise ForeframeError(
            f"--protocol {options.protocol}: unknown; known protocols: {', '.join(PROTOCOLS)}."
        )
    protocol = replace(PROTOCOLS[options.protocol], split=options.split, seed=options.seed)
    given = {name: getattr(options, name) for name in ("n_past", "n_future", "samples")}
    other = {k: v for k, v in given.items() if v is not None and v != getattr(protocol, k)}
    words = tuple(
        f"{k.replace('_', '-')} {v} instead of {getattr(protocol, k)}" for k, v in other.items()
    )
    return replace(protocol, changed=words, **other)
