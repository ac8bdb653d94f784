"""What the page of a study shows, gathered from its folder; how it looks stands in study.html."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foreframe.report.numbers import plural
from foreframe.report.templates import render
from foreframe.study.markdown import markdown
from foreframe.study.numbers import Summary, cycle_starts
from foreframe.study.pictures import side_by_side_pictures
from foreframe.study.plan import Comparison
from foreframe.study.read import Study, read_study
from foreframe.study.record import Results
from foreframe.study.table import HEADS, TABLE_WORDS, setting_words, table
from foreframe.study.words import claims, discussion
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


def write_page(folder: Path) -> Path:
    """Write the page, ``study.md`` and ``results.json`` of a study; returns the page's path.

    Raises:
        ForeframeError: there is no study, a file is damaged or could not be written.
    """
    study = read_study(folder)
    summaries = study.summaries
    rates = [one.cells[0] for one in study.definition.comparisons if one.name == "learning-rate"]
    held = claims(summaries, *rates[:1])
    example = next(iter(study.records.values()), None)
    page = render(
        "study.html",
        "foreframe.study",
        title=f"{folder.name}: foreframe study",
        name=folder.name,
        lead=_lead(study, summaries),
        claims=held,
        heads=HEADS,
        table_words=TABLE_WORDS,
        comparisons=[_comparison(study, summaries, one) for one in study.definition.comparisons],
        again=study.definition.commands or ["not recorded"],
        cell_again=example[0].commands if example else [],
        facts={
            "Base": study.definition.base.recipe,
            "Settings": setting_words(study),
        },
    )
    write_text(folder / PAGE, page)
    write_text(folder / MARKDOWN, markdown(study, summaries, held))
    write_json(folder / RESULTS, _results(study).to_json())
    return folder / PAGE


def _lead(study: Study, summaries: dict[str, Summary]) -> str:
    """The sentences under the title."""
    runs = sum(len(cell.seeds) for cell in summaries.values())
    collapsed = sum(len(cell.collapsed) for cell in summaries.values())
    fate = "No run has ended yet."
    if runs:
        fate = "None of them collapsed."
    if collapsed:
        fate = f"{collapsed} of them collapsed; they are shown with the others."
    systems = plural(len(summaries), "system")
    return f"{plural(runs, 'run')} of {systems}: {setting_words(study)}. {fate}"


def _comparison(
    study: Study, summaries: dict[str, Summary], comparison: Comparison
) -> dict[str, Any]:
    """The table, the sentences, the curves and the pictures of one comparison."""
    run = [name for name in comparison.cells if name in summaries]
    sequences = 1 if len(study.definition.comparisons) > 1 else 2
    groups = [run[k : k + len(SERIES)] for k in range(0, len(run), len(SERIES))]
    return {
        "name": comparison.name,
        "title": comparison.title,
        "rows": table(study, summaries, comparison),
        "said": discussion(comparison, summaries),
        "drawn": [  # a chart has colours for so many systems
            {
                "charts": _charts(study, some),
                "pictures": side_by_side_pictures(study, some, sequences),
            }
            for some in groups
        ],
    }


def _charts(study: Study, run: Sequence[str]) -> list[Chart]:
    histories = {
        study.labels[name]: [record.history for record in study.records[name]] for name in run
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


def _results(study: Study) -> Results:
    definition = study.definition
    return Results(
        base=definition.base,
        data=definition.data,
        limit=definition.limit,
        commands=list(definition.commands),
        foreframe=definition.foreframe,
        runs=[record.numbers() for records in study.records.values() for record in records],
    )
