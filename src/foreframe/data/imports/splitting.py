"""Which split each recording goes to: by chance, by groups that stay together, or by a list."""

import csv
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from foreframe.data.imports.division import FEW, divide
from foreframe.data.imports.options import ImportOptions
from foreframe.data.lab import SPLIT_NAMES
from foreframe.errors import ForeframeError


def by_groups(
    names: Sequence[str],
    missing: Sequence[str],
    options: ImportOptions,
    own: Callable[[str], str],
    log: Callable[[str], None],
) -> dict[str, str]:
    """A split for every recording, those of one group in the same.

    Args:
        names: names of the recordings.
        missing: splits that some of them go to; the others stay in train.
        options: the shares, the seed and, where it is given, the pattern of the groups.
        own: what the source says that a recording belongs to.
        log: told of groups that were not asked for.

    Raises:
        ForeframeError: there are too few groups, or nothing is left for training.
    """
    group_of = grouping(options, own)
    groups = {name: group_of(name) for name in names}
    distinct = list(dict.fromkeys(groups.values()))
    if len(distinct) < FEW and options.group is not None:
        raise ForeframeError(
            f"--group {options.group}: all {len(names)} recordings belong to "
            f"{' or '.join(distinct)}, too few groups for three splits. Give another pattern, or "
            "say where they go: --split or --split-file."
        )
    if len(distinct) < FEW:
        groups, distinct = {name: name for name in names}, list(names)
    elif len(distinct) < len(names) and options.group is None:
        log(
            f"{len(names)} recordings in {len(distinct)} groups that stay together when they are "
            f"divided ({distinct[0]}, ...); --group '.*' divides each by itself."
        )
    shares = {"validate": options.validate, "test": options.test}
    splits = divide(distinct, missing, shares, options.split_seed)
    return {name: splits[group] for name, group in groups.items()}


def grouping(options: ImportOptions, own: Callable[[str], str]) -> Callable[[str], str]:
    """What a recording belongs to, by its name: as ``--group`` says, or else as the source does."""
    return own if options.group is None else _matched(options.group)


def _matched(pattern: str) -> Callable[[str], str]:
    """The text that a pattern matches in a name; the name itself where it matches nothing."""

    def group_of(name: str) -> str:
        match = re.search(pattern, name)
        if match is None:
            return name
        return (match[1] if match.re.groups else match[0]) or name

    return group_of


def by_list(path: Path, names: Sequence[str]) -> dict[str, str]:
    """The split of every recording that a list names.

    Args:
        path: a file with a line NAME,SPLIT for each.
        names: names of the recordings that there are.

    Raises:
        ForeframeError: the file cannot be read, or names what is not there.
    """
    known, splits = set(names), dict[str, str]()
    for number, row in enumerate(_rows(path), 1):
        if number == 1 and row[1].lower() == "split":
            continue
        name, split = row[0], SPLIT_NAMES.get(row[1].lower())
        if split is None:
            raise ForeframeError(
                f"{path}: line {number}: {row[1]!r} is no split; give train, validate or test."
            )
        if name not in known:
            shown = ", ".join(list(names)[:3])
            raise ForeframeError(
                f"{path}: line {number}: there is no recording {name!r}; there are {shown}, ..."
            )
        if splits.setdefault(name, split) != split:
            raise ForeframeError(f"{path}: line {number}: {name} is in {splits[name]} already.")
    if not splits:
        raise ForeframeError(f"{path}: names no recording. Give a line NAME,SPLIT for each.")
    return splits


def _rows(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if any(row)]
    except (OSError, ValueError, csv.Error) as error:
        raise ForeframeError(f"{path}: cannot be read ({error}).") from error
    for number, row in enumerate(rows, 1):
        if len(row) != 2:
            raise ForeframeError(
                f"{path}: line {number}: {len(row)} columns; a line is NAME,SPLIT, as lift/3,test."
            )
    return rows
