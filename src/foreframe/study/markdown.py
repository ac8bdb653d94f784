"""A study as Markdown: its tables and sentences."""

import shlex
from collections.abc import Iterator, Sequence

from foreframe.study.numbers import Summary
from foreframe.study.read import Study
from foreframe.study.table import HEADS, TABLE_WORDS, TableRow, setting_words, table
from foreframe.study.words import Claim, discussion


def markdown(study: Study, summaries: dict[str, Summary], claims: Sequence[Claim]) -> str:
    """The whole document.

    Args:
        study: as read from its folder.
        summaries: of the cells that have been run.
        claims: of the report, held against this study.
    """
    return "\n".join(_lines(study, summaries, claims)) + "\n"


def _lines(study: Study, summaries: dict[str, Summary], claims: Sequence[Claim]) -> Iterator[str]:
    yield from (f"# Study {study.folder.name}", "", f"{setting_words(study)}.", "")
    if claims:
        yield from ("| the report | these runs | what they show |", "| --- | --- | --- |")
        yield from (f"| {one.claim} | {one.agreement} | {one.evidence} |" for one in claims)
        yield ""
    for comparison in study.definition.comparisons:
        yield from (f"## {comparison.title}", "", f"| {' | '.join(HEADS)} |")
        yield f"| --- |{' ---: |' * (len(HEADS) - 1)}"
        yield from map(_line, table(study, summaries, comparison))
        yield ""
        yield from (f"- {text}" for text in discussion(comparison, summaries))
        yield ""
    yield from (TABLE_WORDS.replace("beneath", "then"), "")
    yield from (f"    {shlex.join(shlex.split(c))}" for c in study.definition.commands)


def _line(row: TableRow) -> str:
    cells = [" ".join((cell.value, *cell.intervals)) for cell in row.cells]
    return f"| {' | '.join((row.label, *cells))} |"
