"""Before an import: what is asked for, which recording goes where, how wide its numbers are."""

from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np

from foreframe.data.imports.division import FEW, Piece, divide, divide_by_time
from foreframe.data.imports.options import ImportOptions
from foreframe.data.imports.part import fault
from foreframe.data.recording import Fit
from foreframe.data.sources.source import Part, Skip, Source
from foreframe.errors import ForeframeError


@dataclass(frozen=True)
class ImportPlan:
    parts: list[Part]
    pieces: dict[str, dict[str, list[Piece]]]
    divided_by_time: bool
    widths: dict[str, int | None] = field(default_factory=dict)


def plan_import(source: Source, parts: list[Part], options: ImportOptions) -> ImportPlan:
    repeated = [name for name, count in Counter(part.name for part in parts).items() if count > 1]
    if repeated:
        raise ForeframeError(f"{repeated[0]}: there are two parts of this name; rename one.")
    if options.split is not None:
        parts = [replace(part, split=options.split) for part in parts]
        return ImportPlan(parts, {}, False, _widths(source, parts, options))
    widths = _widths(source, parts, options)
    own = {part.split for part in parts if part.split is not None}
    fractions = {"validate": options.validate, "test": options.test}
    missing = [split for split in fractions if split not in own and fractions[split]]
    if not missing:
        parts = [replace(part, split=part.split or "train") for part in parts]
        return ImportPlan(parts, {}, False, widths)
    divided = [part for part in parts if part.split in (None, "train")]
    found = {part.name: source.lengths(part) for part in divided}
    # Views of several cameras have one name, and go to one split.
    names = list(dict.fromkeys(name for part in divided for name, _ in found[part.name]))
    pieces: dict[str, dict[str, list[Piece]]] = {}
    by_time = len(names) < FEW
    if by_time:
        for part in divided:
            pieces[part.name] = {
                name: divide_by_time(length, missing, fractions)
                for name, length in found[part.name]
                if length  # else it cannot be read, which is said when its turn comes
            }
    else:
        splits = divide(names, missing, fractions, options.split_seed)
        for part in divided:
            pieces[part.name] = {name: [Piece(splits[name])] for name, _ in found[part.name]}
    parts = [replace(part, split=part.split or "train") for part in parts]
    return ImportPlan(parts, pieces, by_time, widths)


def _widths(source: Source, parts: list[Part], options: ImportOptions) -> dict[str, int | None]:
    """Numbers in the actions and positions of the first good recording: all must have them.

    Raises:
        ForeframeError: not one recording can be read.
    """
    fit = Fit(options.size, options.crop)
    reasons: list[Skip] = []
    for part in parts:
        for item in source.read(part):
            if isinstance(item, Skip):
                reasons.append(item)
                continue
            try:
                frame = next(iter(item.frames))
            except StopIteration:
                continue
            except ForeframeError as error:
                reasons.append(Skip(item.name, str(error)))
                continue
            if np.ndim(frame) == 3:
                fit.box(*frame.shape[:2])  # a crop that doesn't fit is the user's mistake
            reason = fault(item, None)
            if reason is None:
                return {
                    "actions": None if item.actions is None else item.actions.shape[1],
                    "positions": None if item.positions is None else item.positions.shape[1],
                }
            reasons.append(Skip(item.name, reason))
    first = "; ".join(f"{skip.name}: {skip.reason}" for skip in reasons[:3])
    raise ForeframeError(
        f"not one recording can be read ({first or 'there are none'}). "
        "Check that the input is of this form and that the options name what is in it."
    )
