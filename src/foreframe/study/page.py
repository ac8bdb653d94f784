"""The page of a study, its Markdown and its numbers, from what the folder holds."""

import math
import shlex
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import foreframe
from foreframe.metrics.intervals import bootstrap
from foreframe.report.html import chart_figures, definitions, note, plural
from foreframe.study.numbers import Summary, cycle_starts, mean_of
from foreframe.study.pictures import side_by_side_pictures
from foreframe.study.plan import Comparison
from foreframe.study.read import Study, read_study
from foreframe.study.words import Claim, claims, discussion
from foreframe.system.files import write_json, write_text
from foreframe.visuals import SERIES, Chart, overlaid_chart

PAGE = "index.html"
MARKDOWN = "study.md"
RESULTS = "results.json"

_CURVES = (
    ("loss", "Loss = MSE + beta KL (per frame)", True),
    ("mse", "MSE (per frame, pixels in [0, 1])", True),
    ("kld", "KL divergence (nats per frame); dotted: beta returns to 0", True),
    ("beta", "KL weight beta", False),
    ("teacher_forcing_ratio", "Teacher-forcing ratio", False),
    ("validation_psnr", "Validation PSNR (dB)", False),
)

_HEADS = (
    "System",
    "Test PSNR, dB",
    "SSIM",
    "over copying, dB",
    "own condition worth, dB",
    "collapsed",
    "latent unused",
    "seconds a run",
)


_TABLE_WORDS = (
    "Mean over the seeds, in brackets its 95 % interval (Student's t); beneath, the 95 % interval "
    "of the same mean over the test sequences (bootstrap). Lab protocol, test split, the best "
    "weights of each run by validation, so a run that collapsed is scored from before it did. Each "
    "interval stands for itself: of twenty comparisons of equals, one is expected to be claimed."
)


def write_page(folder: Path) -> Path:
    """Write the page, ``study.md`` and ``results.json`` of a study; returns the page's path.

    Raises:
        ForeframeError: there is no study, a file is damaged or could not be written.
    """
    study = read_study(folder)
    summaries = study.summaries
    rates = [one.cells[0] for one in study.comparisons if one.name == "learning-rate"]
    found = claims(summaries, *rates[:1])
    write_text(folder / PAGE, _page(study, summaries, found))
    write_text(folder / MARKDOWN, _markdown(study, summaries, found))
    write_json(folder / RESULTS, _results(study))
    return folder / PAGE


def _page(study: Study, summaries: dict[str, Summary], found: list[Claim]) -> str:
    sections = [_header(study, summaries), _report_claims(found)]
    sections += [_comparison(study, summaries, one) for one in study.comparisons]
    sections += [_again(study)]
    template = Template(files("foreframe.study").joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(f"{study.folder.name}: foreframe study"),
        version=escape(foreframe.__version__),
        style=files("foreframe.report").joinpath("style.css").read_text(encoding="utf-8"),
        body="\n".join(section for section in sections if section),
    )


def _setting_words(study: Study) -> str:
    base = study.definition["base"]
    model, train = base["model"], base["train"]
    width = "" if model["width"] == 1 else f" of width {model['width']:g}"
    return (
        f"{model['net']}{width}, {plural(train['epochs'], 'epoch')} of "
        f"{plural(train['steps_per_epoch'], 'step')}, batches of {train['batch_size']}, "
        f"{train['n_past']} given and {train['n_future']} predicted frames, condition "
        f"{model['condition']} in {model['timing']}-time, data {study.definition['data']}; "
        f"{_schedule_words(train)}"
    )


def _schedule_words(train: dict[str, Any]) -> str:
    """Where the schedules stand in a run that is not as long as the report's."""
    epochs, forcing = train["epochs"], train["forcing"]
    words = f"schedules are drawn over the {epochs} epochs"
    if forcing["teacher_forcing"] == "linear":
        start = forcing["teacher_forcing_start"]
        words += f", teacher forcing falls after epoch {start} (in the report after 11 of 150)"
    return words


def _header(study: Study, summaries: dict[str, Summary]) -> str:
    runs = sum(len(cell.seeds) for cell in summaries.values())
    collapsed = sum(len(cell.collapsed) for cell in summaries.values())
    fate = (
        f"{collapsed} of them collapsed; they are shown with the others."
        if collapsed
        else "None of them collapsed."
    )
    text = (
        f"{plural(runs, 'run')} of {plural(len(summaries), 'system')}: {_setting_words(study)}. "
        f"{fate if runs else 'No run has ended yet.'}"
    )
    return (
        f'<header><p class="eyebrow">foreframe study</p><h1>{escape(study.folder.name)}</h1>'
        f'<p class="lead">{escape(text)}</p></header>'
    )


def _report_claims(found: list[Claim]) -> str:
    if not found:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(one.claim)}</th><td>{escape(one.agreement)}</td>'
        f"<td>{escape(one.found)}</td></tr>"
        for one in found
    )
    return (
        '<section aria-labelledby="claims"><h2 id="claims">The report, and these runs</h2>'
        '<div class="table"><table><thead><tr><th scope="col">The report</th>'
        '<th scope="col">These runs</th><th scope="col">Found</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def _comparison(study: Study, summaries: dict[str, Summary], comparison: Comparison) -> str:
    run = [name for name in comparison.cells if name in summaries]
    ident = escape(comparison.name)
    head = f'<section aria-labelledby="{ident}"><h2 id="{ident}">{escape(comparison.title)}</h2>'
    body = "".join(
        "<tr>"
        + f'<th scope="row">{escape(cells[0])}</th>'
        + "".join(f'<td class="n">{_two_lines(cell)}</td>' for cell in cells[1:])
        + "</tr>"
        for cells in _table(study, summaries, comparison)
    )
    heads = "".join(
        f'<th scope="col"{"" if k == 0 else " class=n"}>{escape(head)}</th>'
        for k, head in enumerate(_HEADS)
    )
    table = (
        f'<p class="small quiet">{escape(_TABLE_WORDS)}</p><div class="table"><table>'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )
    said = "".join(f"<li>{escape(text)}</li>" for text in discussion(comparison, summaries))
    parts = [head, table, f'<ul class="said">{said}</ul>']
    for k in range(0, len(run), len(SERIES)):  # a chart has colours for so many
        some = run[k : k + len(SERIES)]
        charts = _charts(study, some)
        parts.append(f'<div class="charts two">{chart_figures(charts)}</div>')
        shown = 1 if len(study.comparisons) > 1 else 2
        parts.append(side_by_side_pictures(study, some, shown))
    if not run:
        parts.append(note("None of these cells has been run."))
    return "".join([*parts, "</section>"])


def _charts(study: Study, run: list[str]) -> list[Chart]:
    histories = {
        study.labels[name]: [record["history"] for record in study.records[name]] for name in run
    }
    starts = sorted(
        {
            history[k]["epoch"] + 1
            for seeds in histories.values()
            for history in seeds
            for k in cycle_starts(history)
        }
    )
    return [
        overlaid_chart(
            title,
            {
                name: [[row.get(key) for row in history] for history in seeds]
                for name, seeds in histories.items()
            },
            logarithmic=logarithmic,
            marks=starts if key == "kld" else (),
        )
        for key, title, logarithmic in _CURVES
    ]


def _table(study: Study, summaries: dict[str, Summary], comparison: Comparison) -> list[list[str]]:
    rows = []
    for name in comparison.cells:
        label = study.labels[name]
        if name not in summaries:
            rows.append([f"{label} (not run)", *[""] * (len(_HEADS) - 1)])
            continue
        cell = summaries[name]
        n = len(cell.seeds)
        rows.append(
            [
                f"{label} ({plural(n, 'seed')})",
                _interval(cell.psnr, 2) + _over_sequences(study, name, "psnr", 2),
                _interval(cell.ssim, 3) + _over_sequences(study, name, "ssim", 3),
                _interval(cell.gain, 2),
                _interval(cell.listening, 2),
                f"{len(cell.collapsed)} of {n}",
                f"{len(cell.unused)} of {n}",
                f"{sum(cell.seconds) / n:.0f}",
            ]
        )
    return rows


def _two_lines(cell: str) -> str:
    """A mean, and its intervals under it."""
    value, found, interval = cell.partition(" [")
    lines = escape(f"[{interval}").replace("] [", "]<br>[")
    return escape(value) + (f"<small>{lines}</small>" if found else "")


def _over_sequences(study: Study, cell: str, metric: str, digits: int) -> str:
    """The interval of the mean over the test sequences, each by its mean over the seeds."""
    found = study.sequences(cell, metric)
    if found is None:
        return ""
    low, high = (_plain(value, digits) for value in bootstrap(found))
    return f" [sequences {low}, {high}]"


def _interval(values: list[float | None], digits: int) -> str:
    found = mean_of(values)
    if found is None:
        return "none"
    mean, low, high = (_plain(value, digits) for value in found)
    return f"{mean} [{low}, {high}]" if math.isfinite(found[1]) else mean


def _plain(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _again(study: Study) -> str:
    commands = study.definition["commands"] or ["not recorded"]
    lines = "".join(f"<code>{escape(command)}</code>" for command in commands)
    example = next(iter(study.records.values()), None)
    one = ""
    if example:
        shown = "".join(f"<code>{escape(line)}</code>" for line in example[0]["commands"])
        one = (
            "<p>One cell again, every setting spelled out that is not its recipe's; results.json "
            "has the commands of all. On the same "
            f"machine and number of threads the numbers are the same.</p><pre>{shown}</pre>"
        )
    facts = {"Base": str(study.definition["base"]["recipe"]), "Settings": _setting_words(study)}
    return (
        '<section aria-labelledby="again"><h2 id="again">Make it again</h2>'
        f"<pre>{lines}</pre>{one}{definitions(facts)}</section>"
    )


def _markdown(study: Study, summaries: dict[str, Summary], found: list[Claim]) -> str:
    lines = [f"# Study {study.folder.name}", "", f"{_setting_words(study)}.", ""]
    if found:
        lines += ["| the report | these runs | found |", "| --- | --- | --- |"]
        lines += [f"| {one.claim} | {one.agreement} | {one.found} |" for one in found]
        lines.append("")
    for comparison in study.comparisons:
        lines += [f"## {comparison.title}", ""]
        lines += [f"| {' | '.join(_HEADS)} |", f"| --- |{' ---: |' * (len(_HEADS) - 1)}"]
        lines += [f"| {' | '.join(row)} |" for row in _table(study, summaries, comparison)]
        lines += ["", *[f"- {text}" for text in discussion(comparison, summaries)], ""]
    lines += [_TABLE_WORDS.replace("beneath", "then"), ""]
    lines += [f"    {shlex.join(shlex.split(c))}" for c in study.definition["commands"]]
    return "\n".join(lines) + "\n"


def _results(study: Study) -> dict[str, Any]:
    keys = ("cell", "label", "seed", "settings", "commands", "diverged", "seconds", "card")
    return {
        **{k: study.definition[k] for k in ("base", "data", "limit", "commands", "foreframe")},
        "runs": [
            {
                **{key: record[key] for key in keys},
                "validation_psnr": [row["validation_psnr"] for row in record["history"]],
                "kld": [row["kld"] for row in record["history"]],
            }
            for records in study.records.values()
            for record in records
        ],
    }
