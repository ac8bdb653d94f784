"""What the report of a run shows, gathered; how it looks stands in report.html."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foreframe.evaluation.card import Card, CardProtocol, Row
from foreframe.evaluation.words import select_words
from foreframe.report.dataset import Origin, origin
from foreframe.report.findings import findings
from foreframe.report.listening import Listening, listening
from foreframe.report.numbers import (
    Kind,
    gain,
    is_number,
    number,
    plural,
    score_of,
    signed,
)
from foreframe.report.pictures import players, strips, uri
from foreframe.report.read import Run
from foreframe.report.templates import render
from foreframe.visuals import step_charts, training_charts

_UNITS = ((3600, "hours"), (60, "minutes"), (1, "seconds"))

_CHARTED = ("model", "copy-last", "permuted")

_TIMING = {
    "source": "the condition of step t - 1 is fed when frame t is predicted; with actions alone "
    "nothing of the future is told",
    "target": "the condition of step t is fed when frame t is predicted, as the lab does",
}


@dataclass(frozen=True)
class Tile:
    """A headline number.

    Attributes:
        name: of the number.
        value: with its sign, where it is a difference.
        unit: of the value; empty if it has none.
        words: what it means and on what it was measured.
        kind: its colour; empty for a number that claims nothing.
    """

    name: str
    value: str
    unit: str
    words: str
    kind: Kind | str = ""


def page(run: Run) -> str:
    """The whole HTML page of a run."""
    data = origin(str(run.config.get("data", "")), str(_kept(run).get("path", "")))
    recipe = str(run.config.get("recipe", "unnamed"))
    heard = listening(run.card, run.probe)
    return render(
        "report.html",
        run=run,
        title=f"{recipe}: foreframe report",
        recipe=recipe,
        lead=_lead(run, data),
        tiles=list(_tiles(run, heard)),
        doubts="; ".join(heard.doubts) if heard else "",
        command=_commands(run, recipe),
        collapse=_epoch(run.collapses[0]) if run.collapses else "",
        shown=_shown(run),
        players=players(run.frames) if run.frames else [],
        strips=strips(run.frames) if run.frames else [],
        table=_table(run.card) if run.card else {},
        findings=findings(run),
        training=_training(run) if run.history else {},
        again=[*data.commands, *_again(run)],
        versions=_versions(run, data),
        configuration=list(_groups(_settings(run), "run")),
    )


def _commands(run: Run, recipe: str) -> dict[str, str]:
    """Commands that bring this run further."""
    folder, data = shlex.quote(str(run.folder)), _data(run)
    return {
        "evaluate": f"foreframe evaluate {folder} --data {data} && foreframe report {folder}",
        "resume": f"foreframe train {shlex.quote(recipe)} --data {data} --out {folder} --resume",
    }


def _data(run: Run) -> str:
    return shlex.quote(str(run.config.get("data", "DIR")))


def _epoch(gif: Path) -> str:
    """The epoch of a training's GIF, counted from 1; its name counts from 0."""
    digits = gif.stem.rsplit("-", 1)[-1]
    return f"epoch {int(digits) + 1}" if digits.isdigit() else gif.stem


# -- the top ------------------------------------------------------------------------------------


def _lead(run: Run, data: Origin) -> dict[str, str]:
    """The parts of the sentence under the title."""
    model, train = run.model, run.train
    width = model.get("width", 1)
    net = str(model.get("net", "?")) + ("" if width == 1 else f" of width {width:g}")
    prior = "learned" if model.get("net") == "places64" else model.get("prior", "?")
    done, planned = len(run.history), train.get("epochs")
    length = plural(planned, "epoch")
    root = str(run.config.get("data", "unknown data"))
    lead = {
        "what": f"A video model ({net}, {prior} prior) that was trained for "
        f"{length if done == planned else f'{done} of {length}'} of "
        f"{plural(train.get('steps_per_epoch'), 'step')} on "
        f"{f'{data.name} ({root})' if data.name else root}",
        "score": "",
    }
    ours = run.card.row("model") if run.card else None
    if run.card and ours and ours.psnr is not None:
        protocol = run.card.protocol
        lead |= {
            "score": f"{ours.psnr:.2f} dB",
            "frames": f"{plural(protocol.n_future, 'frame')} from {protocol.n_past}",
            "sequences": _sequences(protocol),
            "against": _against_copying(run),
        }
    return lead


def _against_copying(run: Run) -> str:
    copied = gain(run.card, "copy-last")
    if copied is None:
        return ""
    if copied.apart is not None and copied.kind == "open":
        return (
            f", not separable from copying the last given frame ({signed(copied.mean)} dB, 95 % "
            f"interval {copied.interval()})"
        )
    better = "better" if copied.mean >= 0 else "worse"
    return f", {abs(copied.mean):.2f} dB {better} than copying the last given frame"


def _tiles(run: Run, heard: Listening | None) -> Iterator[Tile]:
    card = run.card
    ours = card.row("model") if card else None
    if card is None or ours is None or ours.psnr is None:
        return
    protocol, copy = card.protocol, card.row("copy-last")
    yield Tile(
        "PSNR",
        f"{ours.psnr:.2f}",
        "dB",
        f"mean of {plural(protocol.n_future, 'predicted frame')}, {_sequences(protocol)}; "
        f"{ours.condition or 'unknown condition'}; {_samples(protocol)}",
    )
    copied = gain(card, "copy-last")
    if copy and copied is not None:
        words = f"the last given frame, copied, scores {copy.psnr:.2f} dB"
        if copied.apart is not None:
            words += f"; 95 % interval of the difference {copied.interval()}"
        yield Tile("Against copying", signed(copied.mean), "dB", words, copied.kind)
    if heard is not None:
        yield Tile("Against a wrong condition", signed(heard.mean), "dB", heard.words, heard.kind)
    if ours.ssim is not None:
        beside = f"; the copy scores {copy.ssim:.3f}" if copy and copy.ssim is not None else ""
        yield Tile("SSIM", f"{ours.ssim:.3f}", "", f"the same frames{beside}")


def _sequences(protocol: CardProtocol) -> str:
    return f"{plural(protocol.sequences, 'sequence')} of the {protocol.split} split"


def _samples(protocol: CardProtocol) -> str:
    """Which sample of each sequence counts."""
    if protocol.metrics:
        return select_words(protocol)
    return f"{plural(protocol.samples, 'prior sample')} (the first is scored)"


# -- pictures and numbers -----------------------------------------------------------------------


def _shown(run: Run) -> dict[str, Any]:
    """What is said of the pictures."""
    if run.frames is None:
        return {}
    count, steps = run.frames.truth.shape[:2]
    return {
        "sequences": "The first sequence" if count == 1 else f"The first {count} sequences",
        "split": f" of the {run.card.protocol.split} split" if run.card else "",
        "n_past": run.frames.n_past,
        "steps": steps,
    }


def _table(card: Card) -> dict[str, Any]:
    """The rows of the card, their charts, and what the numbers mean."""
    protocol = card.protocol
    timing = protocol.timing
    rows = []
    for row in card.rows:
        about = row.condition + (f"; n/a: {row.why_none}" if row.why_none else "")
        scores = {kind: _score(card, row, kind) for kind in ("psnr", "ssim")}
        rows.append({"label": row.label, "about": about, **scores})
    return {
        "caption": f"{plural(protocol.n_past, 'given frame')}, {protocol.n_future} predicted; "
        f"{_sequences(protocol)}; higher is better. “model” is what the model gains over the row, "
        "paired over the sequences; beneath the values their 95 % intervals.",
        "rows": rows,
        "charts": step_charts(
            [vars(row) for row in card.rows if row.name in _CHARTED], protocol.n_past
        ),
        "facts": {
            "Protocol": f"{protocol.name}: each sequence from its frame 0, {_samples(protocol)}, "
            f"seed {protocol.seed}, the best weights of the run",
            "Condition": protocol.condition,
            "Timing": f"{timing}-time: {_TIMING[timing]}" if timing in _TIMING else timing,
            "PSNR": protocol.psnr,
            "SSIM": protocol.ssim,
            "Data": card.data,
            "Command": card.command or "unknown",
        },
    }


def _score(card: Card, row: Row, kind: str) -> dict[str, Any] | None:
    """A cell of the table: the value and the lines beneath it; None without a value."""
    digits = {"psnr": 2, "ssim": 3}[kind]
    value, beside = getattr(row, kind), []
    if value is None:
        return None
    score, over = score_of(row, kind), gain(card, row.name, kind)
    if row.name == "model" and score is not None:
        low, high = score.interval
        beside.append(f"{low:.{digits}f} to {high:.{digits}f}")
    elif row.name != "model" and over is not None:
        beside.append(f"model {signed(over.mean, digits)}")
        if over.apart is not None:
            beside.append(over.interval(digits))
    return {"value": f"{value:.{digits}f}", "beside": beside}


# -- training -----------------------------------------------------------------------------------


def _training(run: Run) -> dict[str, Any]:
    """Sentences, curves and GIFs of the training."""
    shown = [
        (path, "Validation sequences as the collapsed model predicts them")
        for path in run.collapses
    ]
    if run.sample is not None:
        shown.append((run.sample, "Validation sequences during training"))
    return {
        "words": "; ".join(_training_words(run))
        + ". Epochs are counted from 1. The training PSNR is that of the mean error "
        "of the training batches, in part with true frames fed in; the validation PSNR is of "
        "predictions alone.",
        "charts": training_charts(run.history),
        "samples": [
            {"title": title, "epoch": _epoch(path), "gif": uri(path.read_bytes(), "gif")}
            for path, title in shown
        ],
    }


def _training_words(run: Run) -> Iterator[str]:
    train, history = run.train, run.history
    yield (
        f"{plural(len(history), 'epoch')} of {plural(train.get('steps_per_epoch'), 'step')}, "
        f"batches of {number(train.get('batch_size'))}"
    )
    seconds = [row["seconds"] for row in history if is_number(row.get("seconds"))]
    if seconds:
        total = sum(seconds)
        unit, name = next(u for u in _UNITS if total >= u[0] or u[0] == 1)
        yield f"{total / unit:.{0 if unit == 1 else 1}f} {name} of training"
    speeds = [
        row["frames_per_second"] for row in history if is_number(row.get("frames_per_second"))
    ]
    if speeds:
        yield f"{sum(speeds) / len(speeds):,.0f} frames a second"
    scored = [
        (row["validation_psnr"], k)
        for k, row in enumerate(history)
        if is_number(row.get("validation_psnr"))
    ]
    if scored:
        best, k = max(scored)
        epoch = int(history[k].get("epoch", k)) + 1
        yield (
            f"best validation PSNR {best:.2f} dB after epoch {epoch}, whose weights are the run's"
        )


# -- again --------------------------------------------------------------------------------------


def _again(run: Run) -> list[str]:
    """The commands that make such a run from its data."""
    data, config = _data(run), shlex.quote(str(run.folder / "run.json"))
    start = run.config.get("init_from")
    init = f" --init-from {shlex.quote(str(start))}" if start else ""
    looks = [
        f"foreframe {verb} NEW_RUN --data {data}"
        for verb, result in (("probe", run.probe), ("diagnose", run.diagnosis))
        if result is not None
    ]
    return [
        f"foreframe train {config} --data {data} --out NEW_RUN{init}",
        f"foreframe evaluate NEW_RUN --data {data}",
        *looks,
        "foreframe report NEW_RUN",
    ]


def _versions(run: Run, data: Origin) -> dict[str, str]:
    versions = {"foreframe": run.config.get("foreframe"), "PyTorch": run.config.get("torch")}
    return {name: str(value) for name, value in (versions | dict(data.versions)).items() if value}


def _kept(run: Run) -> Mapping[str, Any]:
    """What run.json keeps of the dataset; empty for runs of version 0.1."""
    kept = run.config.get("dataset")
    return kept if isinstance(kept, dict) else {}


def _settings(run: Run) -> dict[str, Any]:
    """The configuration without the versions, columns of the data by their names alone."""
    settings = {k: v for k, v in run.config.items() if k not in ("foreframe", "torch")}
    if _kept(run):
        columns = {
            part: ", ".join(str(number.get("label", "?")) for number in numbers)
            for part, numbers in _kept(run).items()
            if isinstance(numbers, list)
        }
        settings["dataset"] = {**_kept(run), **columns}
    return settings


def _groups(values: Mapping[str, Any], title: str) -> Iterator[dict[str, Any]]:
    """A nested configuration, level by level: the plain settings of each under its name."""
    plain = {name: value for name, value in values.items() if not isinstance(value, Mapping)}
    yield {"title": title, "plain": plain}
    for name, inner in values.items():
        if isinstance(inner, Mapping):
            yield from _groups(inner, name if title == "run" else f"{title}.{name}")
