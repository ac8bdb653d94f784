"""Findings as lines that a person can read."""

from collections.abc import Iterator
from textwrap import wrap

from foreframe.check.alignment import Alignment, Link
from foreframe.check.behaviour import ColumnGroup, Kind
from foreframe.check.conclude import change
from foreframe.check.findings import ColumnSummary, Finding, Findings, SplitSummary

_MOST_COLUMNS = 32
_MOST_LAGS = 3
"""Lags from which on only the first and the last are named."""

_WIDTH = 100


def lines(findings: Findings) -> list[str]:
    """The findings, for a terminal or a log."""
    return list(_lines(findings))


def _lines(findings: Findings) -> Iterator[str]:
    yield findings.root
    yield ""
    if findings.splits:
        yield from _table(
            ("split", "sequences", "frames", "length", "size", "rate", "pixels", "copy-last"),
            [_split_row(split) for split in findings.splits],
            left=1,
        )
        yield (
            "  length: shortest / median / longest. pixels: range, mean. copy-last: PSNR if the "
            "last of"
        )
        yield (
            f"  {findings.n_past} given frames is repeated {findings.n_future} times. "
            f"Room for --n-future up to {findings.n_future_max}."
        )
        yield (
            f"  A model can be trained with --net {' or '.join(findings.nets)}."
            if findings.nets
            else "  No --net takes the frames of all splits."
        )
        for part in ("actions", "positions"):
            yield from _columns(part, findings.splits)
        yield ""
        yield from _alignment(findings.alignment, findings.splits)
        yield from _behaviour(findings)
    for title, problems in (("Errors", findings.errors), ("Warnings", findings.warnings)):
        if problems:
            yield ""
            yield title
            for finding in problems:
                yield from wrap(
                    f"{_where(finding)}{finding.text}",
                    _WIDTH,
                    initial_indent="  ",
                    subsequent_indent="    ",
                    break_long_words=False,
                    break_on_hyphens=False,
                )
    yield ""
    yield _verdict(findings)


def _verdict(findings: Findings) -> str:
    errors, warnings = len(findings.errors), len(findings.warnings)
    said = f"{warnings} warning{'s' * (warnings != 1)}"
    if findings.ok:
        flags = f" with {' '.join(findings.flags)}" if findings.flags else ""
        return (
            f"Training can start{flags}{f' ({said})' if warnings else ': nothing to complain of'}."
        )
    return f"Training cannot start: {errors} error{'s' * (errors != 1)}, {said}."


def _where(finding: Finding) -> str:
    return f"{finding.split}: " if finding.split else ""


def _split_row(split: SplitSummary) -> tuple[str, ...]:
    rate = "?" if split.frame_rate is None else f"{split.frame_rate:g} Hz"
    psnr = "-" if split.copy_last_psnr is None else f"{split.copy_last_psnr:.2f} dB"
    return (
        split.name,
        f"{split.sequences:,}",
        f"{split.frames:,}",
        f"{split.shortest} / {split.median:g} / {split.longest}",
        f"{split.size[1]}x{split.size[0]}",
        rate,
        f"{split.pixel_low}..{split.pixel_high}, {split.pixel_mean:.0f}",
        psnr,
    )


def _columns(part: str, splits: tuple[SplitSummary, ...]) -> Iterator[str]:
    first = splits[0]
    columns: tuple[ColumnSummary, ...] | None = getattr(first, part)
    yield ""
    if columns is None:
        yield f"{part}: none"
        return
    rows = [
        (str(k), *(f"{value:.4g}" for value in (c.mean, c.std, c.low, c.high)))
        for k, c in enumerate(columns[:_MOST_COLUMNS])
    ]
    table = list(_table(("column", "mean", "deviation", "least", "greatest"), rows))
    yield f"{part} ({first.name})"
    yield from table
    if len(columns) > _MOST_COLUMNS:
        yield f"  and {len(columns) - _MOST_COLUMNS} more columns"


def _alignment(alignment: Alignment | None, splits: tuple[SplitSummary, ...]) -> Iterator[str]:
    if alignment is None:
        if any(split.actions is not None for split in splits):
            yield "alignment of actions and motion: not measured, there are too few sequences"
        return
    yield (
        f"alignment of action[t] with a change (R2 on held-out sequences; {alignment.sequences} of "
        f"{alignment.of:,} sequences)"
    )
    header = ("", *(change(lag) for lag in alignment.links[0].lags), "chance", "verdict")
    rows = [
        (
            link.kind,
            *(f"{value:.2f}" for value in link.r2),
            f"{link.chance:.2f}",
            _link_verdict(link),
        )
        for link in alignment.links
    ]
    yield from _table(header, rows, left=1, last_left=True)
    for link in alignment.links:
        yield f"  {link.kind}: {link.measure} (columns {', '.join(map(str, link.columns))})"


def _link_verdict(link: Link) -> str:
    if link.verdict == "shifted":
        return f"goes with {change(link.best)}"
    if link.verdict == "cannot be told":
        between = " or " if len(link.plausible) < _MOST_LAGS else " and all up to "
        ends = dict.fromkeys((link.plausible[0], link.plausible[-1]))
        return "cannot be told: " + between.join(change(lag) for lag in ends)
    if link.verdict == "no link":
        return "actions do not explain it"
    return "aligned"


_KINDS: dict[Kind, str] = {
    "displacement": "displacements, as far as the positions change in a row",
    "velocity": "velocities, in the positions' units a second",
    "motion": "displacements or velocities, in units of their own",
    "target": "absolute targets",
    "switch": "two values, such as a gripper's",
    "state": "states, no commands",
    "unclear": "cannot be told",
}


def _behaviour(findings: Findings) -> Iterator[str]:
    if any(group.kind != "unclear" for group in findings.groups):
        yield from _groups(findings.groups)
    suggestion = findings.suggestion
    rate, how = findings.splits[0].frame_rate, suggestion.resample_actions
    if suggestion.every is not None and suggestion.frame_rate is not None:
        yield ""
        yield (
            f"{rate:g} frames a second are many for a model: hardly anything changes from one to "
            "the next."
        )
        whole = suggestion.frame_rate.is_integer()
        option = (
            f"--frame-rate {suggestion.frame_rate:g}" if whole else f"--every {suggestion.every}"
        )
        joined = f" --resample-actions {how}" if how is not None else ""
        yield f"  Suggested: foreframe import ... {option}{joined}"


def _groups(groups: tuple[ColumnGroup, ...]) -> Iterator[str]:
    yield ""
    yield "what the actions look like, by what follows them, and how to join those of several rows"
    rows: list[tuple[str, ...]] = []
    for group in groups:
        first, last = group.columns[0], group.columns[-1]
        what = _KINDS[group.kind] + _reached(group)
        rule = f"--resample-actions {group.rule}" if group.rule else ""
        rows.append((f"{first}" if first == last else f"{first} to {last}", what, rule))
    yield from _table(("column", "", ""), rows, left=2, last_left=True)


def _reached(group: ColumnGroup) -> str:
    if group.reached_after is None:
        return ""
    least, most = group.reached_after
    if most == 0:
        return ", reached at once"
    if least == most:
        return f", reached {least} row{'s' * (least != 1)} later"
    return f", reached {least} to {most} rows later"


def _table(
    header: tuple[str, ...],
    rows: list[tuple[str, ...]],
    *,
    left: int = 0,
    last_left: bool = False,
) -> Iterator[str]:
    """Columns of one width each; the first ``left`` of them (and the last) begin at the left."""
    widths = [max(map(len, cells)) for cells in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        cells = [
            cell.ljust(width)
            if k < left or (last_left and k == len(widths) - 1)
            else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield ("  " + "  ".join(cells)).rstrip()
