"""The plan of an import: which recording goes where, and how wide its numbers are."""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from foreframe.data.imports.division import FEW, Piece, divide, divide_by_time
from foreframe.data.imports.options import ImportOptions
from foreframe.data.imports.part import fault
from foreframe.data.recording import TABLES, Fit
from foreframe.data.sources.source import Part, RawRecording, Skip, Source
from foreframe.errors import ForeframeError

Pieces = dict[str, dict[str, list[Piece]]]
"""The pieces of each recording of each part, by their names."""


@dataclass(frozen=True)
class ImportPlan:
    """What is decided before anything is written.

    Attributes:
        parts: the parts of the source, each with its split.
        pieces: pieces of the recordings that are divided over splits; all others go whole to the
            split of their part.
        divided_by_time: whether recordings are so few that each is divided by time.
        widths: numbers in a row of each table that all recordings must have.
    """

    parts: list[Part]
    pieces: Pieces
    divided_by_time: bool
    widths: dict[str, int | None]


def plan_import(source: Source, parts: list[Part], options: ImportOptions) -> ImportPlan:
    """Decide what goes where.

    Raises:
        ForeframeError: the source is ambiguous or has too little for the splits asked for.
    """
    name, count = Counter(part.name for part in parts).most_common(1)[0] if parts else ("", 0)
    if count > 1:
        raise ForeframeError(f"{name}: there are two parts of this name; rename one.")
    widths = _widths(source, parts, options)
    if options.split is not None:
        parts = [replace(part, split=options.split) for part in parts]
        return ImportPlan(parts, {}, False, widths)
    fractions = {"validate": options.validate, "test": options.test}
    own = {part.split for part in parts}
    missing = [split for split in fractions if split not in own and fractions[split]]
    pieces, by_time = _divided(source, parts, missing, options) if missing else ({}, False)
    parts = [replace(part, split=part.split or "train") for part in parts]
    return ImportPlan(parts, pieces, by_time, widths)


def _divided(
    source: Source, parts: list[Part], missing: list[str], options: ImportOptions
) -> tuple[Pieces, bool]:
    """Pieces for the splits that the source does not have; whether recordings are cut for them."""
    fractions = {"validate": options.validate, "test": options.test}
    lengths = {part.name: source.lengths(part) for part in parts if part.split in (None, "train")}
    # Views of several cameras have one name, and go to one split.
    names = list(dict.fromkeys(name for own in lengths.values() for name, _ in own))
    if len(names) < FEW:
        by_time = {
            part: {
                name: divide_by_time(length, missing, fractions)
                for name, length in own
                if length  # else it cannot be read, which is said when its turn comes
            }
            for part, own in lengths.items()
        }
        return by_time, True
    splits = divide(names, missing, fractions, options.split_seed)
    return {
        part: {name: [Piece(splits[name])] for name, _ in own} for part, own in lengths.items()
    }, False


def _widths(source: Source, parts: list[Part], options: ImportOptions) -> dict[str, int | None]:
    """Numbers in a row of each table of the first good recording: all must have them.

    Raises:
        ForeframeError: not one recording can be read.
    """
    fit = Fit(options.size, options.crop)
    skipped: list[Skip] = []
    for item in (item for part in parts for item in source.read(part)):
        if isinstance(item, Skip):
            skipped.append(item)
            continue
        reason = _look_at(item, fit)
        if reason is None:
            tables = {part: getattr(item, part) for part in TABLES}
            return {part: None if rows is None else rows.shape[1] for part, rows in tables.items()}
        skipped.append(Skip(item.name, reason))
    raise ForeframeError(
        f"not one recording can be read ({listed(skipped) or 'there are none'}). "
        "Check that the input is of this form and that the options name what is in it."
    )


def _look_at(item: RawRecording, fit: Fit) -> str | None:
    """What is wrong with a recording, from its first frame and its numbers.

    Raises:
        ForeframeError: the crop reaches beyond its frames, which is the user's mistake.
    """
    try:
        frame = next(iter(item.frames), None)
    except ForeframeError as error:
        return str(error)
    if frame is None:
        return "it holds no frames"
    if np.ndim(frame) == 3:
        fit.box(*frame.shape[:2])
    return fault(item, None)


def listed(skipped: list[Skip]) -> str:
    """The first few of what was skipped, with the reasons."""
    return "; ".join(f"{skip.name}: {skip.reason}" for skip in skipped[:3])
