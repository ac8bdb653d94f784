"""The result card: what was measured, how, on what, by which command; as JSON and as Markdown."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import torch

import foreframe
from foreframe.config.model import ModelConfig
from foreframe.evaluation.protocols import Protocol
from foreframe.evaluation.score import ROWS, Scored
from foreframe.evaluation.summary import summarise
from foreframe.metrics import METRICS, Metric

CARD = 2
"""Version of the card; the first had the PSNR and SSIM of three rows alone."""


def make_card(
    scored: dict[str, Scored],
    metrics: Sequence[Metric],
    protocol: Protocol,
    config: ModelConfig,
    *,
    sequences: int,
    hashes: dict[str, str],
    run: str,
    data: str,
    command: str,
) -> dict[str, Any]:
    """The card as plain values for JSON; every row of ``ROWS``, absent ones with the reason."""
    headlines = {
        kind: next(m.name for m in metrics if m.name.startswith(kind)) for kind in ("psnr", "ssim")
    }
    rows = []
    for name, (label, condition) in _labels(config).items():
        row: dict[str, Any] = {"name": name, "label": label, "condition": condition}
        if name in scored:
            scores = summarise(scored[name].values, metrics, protocol)
            for kind, metric in headlines.items():
                row[kind] = scores[metric]["value"]
                row[f"{kind}_per_step"] = scores[metric]["per_step"]
            row["scores"] = scores
            if scored[name].fvd is not None:
                row["fvd"] = scored[name].fvd
        else:
            for kind in headlines:
                row[kind], row[f"{kind}_per_step"] = None, None
            row["why_none"] = (
                "the model has no condition"
                if config.condition == "none"
                else "a single sequence has no other condition to be given"
            )
        rows.append(row)
    return {
        "card": CARD,
        "protocol": {
            **asdict(protocol),
            "doubts": list(protocol.doubts),
            "changed": list(protocol.changed),
            "metrics": {
                m.name: {
                    "label": m.label,
                    "unit": m.unit,
                    "definition": m.definition,
                    "digits": m.digits,
                    "higher_is_better": m.higher_is_better,
                }
                for m in metrics
            },
            "sequences": sequences,
            "condition": config.condition,
            "needs_condition": protocol.condition,
            "timing": config.timing,
            "psnr": METRICS[headlines["psnr"]].definition,
            "ssim": METRICS[headlines["ssim"]].definition,
        },
        "run": run,
        "data": data,
        "command": command,
        "hashes": hashes,
        "foreframe": foreframe.__version__,
        "torch": torch.__version__,
        "rows": rows,
    }


def _labels(config: ModelConfig) -> dict[str, tuple[str, str]]:
    told = config.condition_name
    labels = {
        "model": ("foreframe", told),
        "copy-last": ("copy the last given frame", "no condition"),
        "posterior": ("foreframe, z from the posterior", f"{told}; z has seen the future"),
        "permuted": ("foreframe, permuted condition", f"{told}, another sequence's"),
        "zeroed": ("foreframe, zeroed condition", f"{told}, all zero"),
        "opposed": ("foreframe, opposed condition", f"{told}, mirrored about the mean"),
    }
    return {name: labels[name] for name in ROWS}


# -- in words -----------------------------------------------------------------------------------


def select_words(protocol: dict[str, Any]) -> str:
    """Which sample counts: "1 prior sample", "best of 100 prior samples by SSIM (SVG's)"."""
    samples, select = protocol.get("samples", 1), protocol.get("select", "first")
    if samples == 1:
        return "1 prior sample"
    if select == "first":
        return f"the first of {samples} prior samples"
    by = "each metric by itself" if select == "each" else protocol["metrics"][select]["label"]
    return f"best of {samples} prior samples by {by}"


def protocol_words(protocol: dict[str, Any]) -> str:
    """The protocol in a line."""
    words = (
        f"{protocol['n_past']} given, {protocol['n_future']} predicted frames, "
        f"{protocol['split']} sequences: {protocol['sequences']}, {select_words(protocol)}"
    )
    if protocol.get("counts_context"):
        words += ", given frames counted"
    return words


def markdown(card: dict[str, Any]) -> str:
    """The card for a reader."""
    return "\n".join(_lines(card)) + "\n"


def _lines(card: dict[str, Any]) -> Iterator[str]:
    protocol = card["protocol"]
    metrics = protocol["metrics"]
    yield f"# {card['run']}: protocol {protocol['name']}"
    yield ""
    yield protocol_words(protocol)[0].upper() + protocol_words(protocol)[1:] + "."
    if protocol["changed"]:
        yield f"Not the protocol as it is named: {'; '.join(protocol['changed'])}."
    yield ""
    heads = [m["label"] + (f" ({m['unit']})" if m["unit"] else "") for m in metrics.values()]
    fvd = any("fvd" in row for row in card["rows"])
    yield f"| prediction | condition | {' | '.join(heads + (['FVD'] if fvd else []))} |"
    yield f"| --- | --- |{' ---: |' * (len(heads) + fvd)}"
    for row in card["rows"]:
        cells = [
            _cell(row["scores"][name], m["digits"]) if "scores" in row else "n/a"
            for name, m in metrics.items()
        ]
        if fvd:
            cells.append(f"{row['fvd']:.1f}" if "fvd" in row else "n/a")
        yield f"| {row['label']} | {row['condition']} | {' | '.join(cells)} |"
    yield ""
    which = "normal approximation" if protocol["interval"] == "normal" else "bootstrap"
    yield f"In brackets: 95 % interval of the mean over sequences ({which})."
    yield ""
    yield from _samples_table(card)
    for name, m in metrics.items():
        yield f"- **{m['label']}** (`{name}`): {m['definition']}."
    if fvd:
        yield (
            "- **FVD**: squared Fréchet distance between the features of all true and all "
            "predicted videos, by the extractor that the command names"
            + (", given frames included." if protocol["counts_context"] else ", predicted frames.")
        )
    if protocol["published"]:
        yield f"- Published: {protocol['published']}."
    for doubt in protocol["doubts"]:
        yield f"- Mind: {doubt}"
    yield ""
    yield f"Data: `{card['data']}`. Command: `{card['command'] or 'not recorded'}`."
    yield ""
    yield f"foreframe {card['foreframe']}, PyTorch {card['torch']}. SHA-256:"
    yield ", ".join(f"{name} `{value[:16]}`" for name, value in card["hashes"].items()) + "."


def _cell(score: dict[str, Any], digits: int) -> str:
    low, high = score["interval"]
    text = f"{score['value']:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
    if "without_context" in score:
        text += f"; {score['without_context']:.{digits}f} without given frames"
    return text


def _samples_table(card: dict[str, Any]) -> Iterator[str]:
    """Best, mean and worst sample of the model, and the best of fewer samples."""
    protocol, model = card["protocol"], card["rows"][0]
    scores = {k: v for k, v in model.get("scores", {}).items() if "best_of" in v}
    if not scores:
        return
    counts = [int(n) for n, _ in next(iter(scores.values()))["best_of"]]
    heads = ["mean", "worst", *(f"best of {n}" for n in counts)]
    yield f"| foreframe | {' | '.join(heads)} |"
    yield f"| --- |{' ---: |' * len(heads)}"
    for name, score in scores.items():
        digits = protocol["metrics"][name]["digits"]
        values = [score["mean"], score["worst"], *(value for _, value in score["best_of"])]
        label = protocol["metrics"][name]["label"]
        yield f"| {label} | {' | '.join(f'{value:.{digits}f}' for value in values)} |"
    yield ""
