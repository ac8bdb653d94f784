"""The page of a report, section by section. Everything that was read is escaped."""

import shlex
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

import foreframe
from foreframe.evaluation.card import Card
from foreframe.evaluation.words import select_words
from foreframe.report.html import (
    chart_figures,
    definitions,
    is_number,
    note,
    number,
    plural,
    settings,
    signed,
    tile,
)
from foreframe.report.pictures import gif_uri, players, strips
from foreframe.report.read import Run
from foreframe.visuals import step_charts, training_charts

_UNITS = ((3600, "hours"), (60, "minutes"), (1, "seconds"))

_CHARTED = ("model", "copy-last", "permuted")

_TIMING = {
    "source": "the condition of step t - 1 is fed when frame t is predicted; with actions alone "
    "nothing of the future is told",
    "target": "the condition of step t is fed when frame t is predicted, as the lab does",
}


def page(run: Run) -> str:
    """The whole HTML page of a run."""
    sections = [_header(run), _predictions(run), _evaluation(run), _training(run), _settings(run)]
    template = Template(files("foreframe.report").joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(f"{_recipe(run)}: foreframe report"),
        version=escape(foreframe.__version__),
        style=files("foreframe.report").joinpath("style.css").read_text(encoding="utf-8"),
        body="\n".join(sections),
    )


def _recipe(run: Run) -> str:
    return str(run.config.get("recipe", "unnamed"))


def _row(run: Run, name: str) -> dict[str, Any]:
    rows = run.card["rows"] if run.card else []
    return next((row for row in rows if row["name"] == name), {})


def _gain(run: Run, name: str, metric: str = "psnr") -> float | None:
    """How much better the model is than a baseline."""
    ours, theirs = (_row(run, which).get(metric) for which in ("model", name))
    return ours - theirs if is_number(ours) and is_number(theirs) else None


def _frames_words(run: Run) -> str:
    """The protocol in short."""
    protocol = run.card["protocol"] if run.card else {}
    count, split = protocol.get("sequences"), protocol.get("split", "")
    return f"{plural(count, 'sequence')} of the {split} split"


def _command(run: Run, verb: str) -> str:
    folder = shlex.quote(str(run.folder))
    data = shlex.quote(str(run.config.get("data", "DIR")))
    return {
        "evaluate": f"foreframe evaluate {folder} --data {data} && foreframe report {folder}",
        "resume": f"foreframe train {shlex.quote(_recipe(run))} "
        f"--data {data} --out {folder} --resume",
    }[verb]


# -- the top ------------------------------------------------------------------------------------


def _header(run: Run) -> str:
    model, train = run.model, run.train
    width = model.get("width", 1)
    net = str(model.get("net", "?")) + ("" if width == 1 else f" of width {width:g}")
    done, planned = len(run.history), train.get("epochs")
    length = (
        plural(planned, "epoch") if done == planned else f"{done} of {plural(planned, 'epoch')}"
    )
    what = (
        f"A video model ({net}, {model.get('prior', '?')} prior) that was trained for {length} of "
        f"{plural(train.get('steps_per_epoch'), 'step')} on {_data_name(run)}"
    )
    lines = [
        '<header><p class="eyebrow">foreframe report of '
        f"{escape(str(run.folder))}</p><h1>{escape(_recipe(run))}</h1>"
    ]
    ours = _row(run, "model").get("psnr")
    if run.card and is_number(ours):
        protocol = run.card["protocol"]
        gain = _gain(run, "copy-last")
        than = (
            ""
            if gain is None
            else f", {abs(gain):.2f} dB {'better' if gain >= 0 else 'worse'} than copying the last "
            "given frame"
        )
        lines.append(
            f'<p class="lead">{escape(what)} predicts {plural(protocol.get("n_future"), "frame")} '
            f"from {number(protocol.get('n_past'))} at <strong>{ours:.2f} dB</strong> PSNR on "
            f"{escape(_frames_words(run))}{than}.</p>"
        )
        lines.append(_tiles(run))
    else:
        lines.append(f'<p class="lead">{escape(what)}. It has not been evaluated yet.</p>')
    if run.stale:
        lines.append(
            note(
                "The evaluation is older than the weights: its numbers and pictures are of an "
                "earlier state of this run.",
                _command(run, "evaluate"),
            )
        )
    if run.collapses:
        epoch = run.collapses[0].stem.rsplit("-", 1)[-1]
        lines.append(
            note(
                f"This training collapsed (epoch {int(epoch) + 1 if epoch.isdigit() else epoch}): "
                "the pictures of it are under Training."
            )
        )
    return "\n".join([*lines, "</header>"])


def _data_name(run: Run) -> str:
    data = str(run.config.get("data", "unknown data"))
    return f"simulated robot pushing ({data})" if run.dataset else data


def _tiles(run: Run) -> str:
    assert run.card
    protocol, ours = run.card["protocol"], _row(run, "model")
    future = protocol.get("n_future")
    condition = str(ours.get("condition", "unknown condition"))
    tiles = [
        tile(
            "PSNR",
            f"{ours['psnr']:.2f}",
            "dB",
            f"mean of {plural(future, 'predicted frame')}, {_frames_words(run)}; {condition}; "
            f"{_samples(run)}",
        )
    ]
    copied = _gain(run, "copy-last")
    if copied is not None:
        value = _row(run, "copy-last")["psnr"]
        tiles.append(
            tile(
                "Against copying",
                signed(copied, 2),
                "dB",
                f"the last given frame, copied, scores {value:.2f} dB",
                copied,
            )
        )
    listening = _gain(run, "permuted")
    if listening is not None:
        tiles.append(
            tile(
                "Against a wrong condition",
                signed(listening, 2),
                "dB",
                "gained by being told the sequence's own condition, not another's: how much the "
                "model listens",
                listening,
            )
        )
    if is_number(ours.get("ssim")):
        other = _row(run, "copy-last").get("ssim")
        beside = f"; the copy scores {other:.3f}" if is_number(other) else ""
        tiles.append(tile("SSIM", f"{ours['ssim']:.3f}", "", f"the same frames{beside}"))
    return f'<ul class="numbers">{"".join(tiles)}</ul>'


# -- pictures -----------------------------------------------------------------------------------


def _predictions(run: Run) -> str:
    head = '<section aria-labelledby="predictions"><h2 id="predictions">Predictions</h2>'
    if run.frames is None:
        return (
            head
            + note(
                "There are no predicted frames yet. They come with an evaluation:",
                _command(run, "evaluate"),
            )
            + "</section>"
        )
    frames = run.frames
    count, steps = frames.truth.shape[:2]
    split = f" of the {run.card['protocol'].get('split', '?')} split" if run.card else ""
    which = "The first sequence" if count == 1 else f"The first {count} sequences"
    intro = (
        f"<p>{which}{escape(split)} and the first sample of each, unselected. The first "
        f'{plural(frames.n_past, "frame")} <span class="given">(blue)</span> '
        f"{'is' if frames.n_past == 1 else 'are'} given to the model; "
        f"the other {steps - frames.n_past} on the right "
        '<span class="predicted">(orange)</span> are its own.</p>'
    )
    bar = (
        f'<div class="bar" role="group" aria-label="Player" data-past="{frames.n_past}" hidden>'
        '<button type="button">Pause</button>'
        f'<input type="range" min="0" max="{steps - 1}" value="0" step="1" aria-label="Time step">'
        "<output></output></div>"
    )
    return (
        f'{head}{intro}{bar}<div class="players">{players(frames)}</div></section>\n'
        '<section aria-labelledby="steps"><h2 id="steps">Every time step</h2>'
        "<p>The same sequences, all steps side by side: the recording above, the prediction "
        "below.</p>"
        f"{strips(frames)}</section>"
    )


# -- numbers ------------------------------------------------------------------------------------


def _samples(run: Run) -> str:
    """Which sample of each sequence counts."""
    protocol = run.card["protocol"] if run.card else {}
    if isinstance(protocol.get("metrics"), dict):
        return select_words(Card.from_json(run.card, str(run.folder)).protocol)
    return f"{plural(protocol.get('samples'), 'prior sample')} (the first is scored)"


def _interval(row: dict[str, Any], protocol: dict[str, Any], metric: str, digits: int) -> str:
    """The 95 % interval of a card of version 2; nothing for older ones."""
    scores = row.get("scores")
    if not isinstance(scores, dict) or not isinstance(protocol.get("metrics"), dict):
        return ""
    name = next((name for name in protocol["metrics"] if name.startswith(metric)), metric)
    low, high = scores.get(name, {}).get("interval", (None, None))
    if not (is_number(low) and is_number(high)):
        return ""
    return f"<small>{low:.{digits}f} to {high:.{digits}f}</small>"


def _evaluation(run: Run) -> str:
    head = '<section aria-labelledby="evaluation"><h2 id="evaluation">Evaluation</h2>'
    if run.card is None:
        return (
            head
            + note("This run has not been evaluated yet. Do so with:", _command(run, "evaluate"))
            + "</section>"
        )
    protocol = run.card["protocol"]
    body = []
    for row in run.card["rows"]:
        about = str(row.get("condition", ""))
        if row.get("why_none"):
            about += f"; n/a: {row['why_none']}"
        cells = [f'<th scope="row">{escape(str(row["label"]))}<small>{escape(about)}</small></th>']
        for metric, digits in (("psnr", 2), ("ssim", 3)):
            value, gain = row.get(metric), _gain(run, row["name"], metric)
            if not is_number(value):
                cells.append('<td class="n">n/a</td>')
                continue
            beside = _interval(row, protocol, metric, digits)
            if row["name"] != "model" and gain is not None:
                beside = f"<small>model {signed(gain, digits)}</small>"
            cells.append(f'<td class="n">{value:.{digits}f}{beside}</td>')
        body.append(f"<tr>{''.join(cells)}</tr>")
    words = (
        f"{plural(protocol.get('n_past'), 'given frame')}, "
        f"{number(protocol.get('n_future'))} predicted; {_frames_words(run)}; higher is better. "
        "“model” is what the model gains over the row; beside the model its 95 % interval over "
        "the sequences."
    )
    table = (
        f'<div class="table"><table><caption>{escape(words)}</caption><thead><tr>'
        '<th scope="col">Prediction<small>condition</small></th>'
        '<th scope="col" class="n">PSNR<small>dB</small></th>'
        '<th scope="col" class="n">SSIM<small>at most 1</small></th></tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )
    timing = str(protocol.get("timing", "unknown"))
    facts = {
        "Protocol": f"{protocol.get('name', '?')}: each sequence from its frame 0, "
        f"{_samples(run)}, "
        f"seed {protocol.get('seed', '?')}, the best weights of the run",
        "Condition": str(protocol.get("condition", "unknown")),
        "Timing": f"{timing}-time: {_TIMING[timing]}" if timing in _TIMING else timing,
        "PSNR": str(protocol.get("psnr", "unknown")),
        "SSIM": str(protocol.get("ssim", "unknown")),
        "Data": str(run.card.get("data", run.config.get("data", "unknown"))),
        "Command": str(run.card.get("command") or "unknown"),
    }
    charted = [row for row in run.card["rows"] if row["name"] in _CHARTED]
    charts = step_charts(charted, int(protocol.get("n_past") or 0))
    return (
        f'{head}{table}<div class="charts two">{chart_figures(charts)}</div>'
        "<details><summary>What these numbers mean</summary>"
        f"<div>{definitions(facts)}</div></details></section>"
    )


def _training(run: Run) -> str:
    head = '<section aria-labelledby="training"><h2 id="training">Training</h2>'
    if not run.history:
        return (
            head
            + note("No epoch has ended yet. Go on with the training:", _command(run, "resume"))
            + "</section>"
        )
    parts = [head, f"<p>{escape(_training_words(run))}</p>"]
    parts.append(f'<div class="charts">{chart_figures(training_charts(run.history))}</div>')
    shown = [
        (path, "Validation sequences as the collapsed model predicts them")
        for path in run.collapses
    ]
    if run.sample is not None:
        shown.append((run.sample, "Validation sequences during training"))
    for path, title in shown:
        digits = path.stem.rsplit("-", 1)[-1]
        epoch = f"epoch {int(digits) + 1}" if digits.isdigit() else path.stem
        alt = f"Animation: validation sequences, truth and prediction in turn, after {epoch}."
        parts.append(
            f"<details><summary>{escape(title)}: {escape(epoch)}</summary><div>"
            f'<img src="{gif_uri(path.read_bytes())}" alt="{escape(alt)}">'
            "</div></details>"
        )
    return "\n".join([*parts, "</section>"])


def _training_words(run: Run) -> str:
    train, history = run.train, run.history
    words = [
        f"{plural(len(history), 'epoch')} of {plural(train.get('steps_per_epoch'), 'step')}, "
        f"batches of {number(train.get('batch_size'))}"
    ]
    seconds = [row["seconds"] for row in history if is_number(row.get("seconds"))]
    if seconds:
        total = sum(seconds)
        unit, name = next(u for u in _UNITS if total >= u[0] or u[0] == 1)
        took = f"{total / unit:.{0 if unit == 1 else 1}f} {name}"
        words.append(f"{took} of training")
    speeds = [
        row["frames_per_second"] for row in history if is_number(row.get("frames_per_second"))
    ]
    if speeds:
        words.append(f"{sum(speeds) / len(speeds):,.0f} frames a second")
    scored = [
        (row["validation_psnr"], k)
        for k, row in enumerate(history)
        if is_number(row.get("validation_psnr"))
    ]
    if scored:
        best, k = max(scored)
        epoch = int(history[k].get("epoch", k)) + 1
        words.append(
            f"best validation PSNR {best:.2f} dB after epoch {epoch}, whose weights are the run's"
        )
    return (
        "; ".join(words)
        + ". Epochs are counted from 1. The training PSNR is that of the mean error "
        "of the training batches, in part with true frames fed in; the validation PSNR is of "
        "predictions alone."
    )


# -- settings -----------------------------------------------------------------------------------


def _size_option(run: Run) -> str:
    """How to simulate frames of the dataset's size, where it is not the default's."""
    size = (run.dataset or {}).get("size")
    edge = size[0] if isinstance(size, list) and size else None
    return "" if edge == 64 or not is_number(edge) else f" --size {number(edge)}"


def _settings(run: Run) -> str:
    data = shlex.quote(str(run.config.get("data", "DIR")))
    recipe = shlex.quote(str(run.folder / "run.json"))
    lines = []
    if run.dataset and isinstance(run.dataset.get("sequences"), dict):
        count = sum(v for v in run.dataset["sequences"].values() if is_number(v))
        seed = run.dataset.get("seed", 0)
        lines.append(
            f"foreframe simulate {data} --sequences {count} --seed {seed}{_size_option(run)}"
        )
    start = run.config.get("init_from")
    init = f" --init-from {shlex.quote(str(start))}" if start else ""
    lines += [
        f"foreframe train {recipe} --data {data} --out NEW_RUN{init}",
        f"foreframe evaluate NEW_RUN --data {data}",
        "foreframe report NEW_RUN",
    ]
    versions = {"foreframe": run.config.get("foreframe"), "PyTorch": run.config.get("torch")}
    if run.dataset:
        versions["MuJoCo (dataset)"] = run.dataset.get("mujoco")
    facts = {name: str(value) for name, value in versions.items() if value}
    config = {k: v for k, v in run.config.items() if k not in ("foreframe", "torch")}
    return (
        '<section aria-labelledby="again"><h2 id="again">Make it again</h2>'
        "<p>run.json holds every setting of this run, so it stands where a recipe's name would.</p>"
        f"<pre>{''.join(f'<code>{escape(line)}</code>' for line in lines)}</pre>"
        f'<h3 id="versions">Trained with</h3>{definitions(facts)}'
        "<details><summary>Full configuration</summary>"
        f'<div class="settings">{settings(config)}</div></details></section>'
    )
