"""More into a finished import: recordings that have come to its input, or lie in another one.

What is there stays where it is, in its split, byte by byte. New recordings become shards of their
own, and are a part of the dataset only when the meta.json of each split and dataset.json name them,
at the very end. After a kill between those few files, the next call puts them back first.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from foreframe.data.imports.division import FEW, Piece, divide_more
from foreframe.data.imports.options import ImportOptions
from foreframe.data.imports.part import files_of
from foreframe.data.imports.plan import (
    ImportPlan,
    Pieces,
    first_recording,
    require_rules,
    widths_of,
)
from foreframe.data.imports.splitting import by_list, grouping
from foreframe.data.imports.thinning import RATE_TOLERANCE
from foreframe.data.lab import SPLITS
from foreframe.data.sources.source import Part, Source
from foreframe.data.store.meta import META
from foreframe.data.store.opened import open_stores
from foreframe.data.store.writer import join_shards
from foreframe.errors import ForeframeError
from foreframe.system.files import write_json

APPENDED = "appended"
"""Of dataset.json: what was taken in later, in turn."""

OF_RECORDINGS = ("inputs", "divided_by_time", "skipped")
"""Entries of dataset.json that are none of the source, and stand in no meta.json."""

_BEGUN = "append.json"
_SOURCES_CLIP = re.compile(r"(?:@\d+)*")
_CLIP = re.compile(r"@\d+$")


@dataclass(frozen=True)
class Before:
    """A finished import, before more is taken in.

    Attributes:
        description: what dataset.json says.
        round: how often more is taken in, this time included.
        prefix: stands before the names of the new recordings; empty for those of the first input.
        shards: names of the shards of each split, in order.
        recordings: the splits that each recording lies in, by its name.
        widths: numbers in a row of each table.
    """

    description: dict[str, Any]
    round: int
    prefix: str
    shards: dict[str, list[str]]
    recordings: dict[str, set[str]]
    widths: dict[str, int | None]

    @property
    def inputs(self) -> dict[str, int]:
        """Sizes of the files that were read, as far as they were noted."""
        noted = self.description.get("inputs")
        return noted if isinstance(noted, dict) else {}

    def shard(self, part: str) -> str:
        """Name of the shards that a part becomes."""
        return f"append-{self.round}-{part}"


def read_before(out: Path, working: Path, description: dict[str, Any], given: str) -> Before:
    """What a finished import holds; where more was being taken in, what it held before.

    Args:
        out: the dataset.
        working: folder of the records, under lock.
        description: what dataset.json says.
        given: the input that more is taken from.

    Raises:
        ForeframeError: the dataset is damaged.
    """
    appended = description.get(APPENDED, [])
    number = len(appended) + 1
    stores = open_stores(out)
    shards = {
        split: [shard.folder.name for shard in store.shards] for split, store in stores.items()
    }
    note = working / _BEGUN
    with suppress(OSError, ValueError, KeyError, TypeError):
        begun = json.loads(note.read_text(encoding="utf-8"))
        if begun["round"] == number and begun["shards"] != shards:
            # It had written a meta.json already.
            shards = begun["shards"]
            _put_back(out, shards, description)
            stores = open_stores(out)
    write_json(note, {"round": number, "shards": shards})
    recordings: dict[str, set[str]] = {}
    for split, store in stores.items():
        for shard in store.shards:
            for k, name in enumerate(shard.names):
                # Stores of old do not say what a clip is of but in its name.
                of = shard.recordings[k] if shard.recordings else _CLIP.sub("", name)
                for known in {of, of + _clips(name.removeprefix(of))}:
                    recordings.setdefault(known, set()).add(split)
    like = next(iter(stores.values()))
    return Before(
        description,
        number,
        _prefix(description, given, recordings),
        shards,
        recordings,
        like.widths,
    )


def _clips(rest: str) -> str:
    """Of what follows a recording in the name of a sequence, what its source said of a clip."""
    match = _SOURCES_CLIP.match(rest)
    return match[0] if match else ""


def _put_back(
    out: Path, shards: Mapping[str, Sequence[str]], description: Mapping[str, Any]
) -> None:
    """Each split as it was before more was taken in."""
    source = {key: value for key, value in description.items() if key not in OF_RECORDINGS}
    for split in SPLITS:
        if shards.get(split):
            join_shards(out / split, list(shards[split]), {"source": source})
        else:
            (out / split / META).unlink(missing_ok=True)


def _resolved(given: str) -> str:
    """An input, however it is spelled."""
    return given if "://" in given else os.path.realpath(given)


def _prefix(description: Mapping[str, Any], given: str, recordings: Mapping[str, object]) -> str:
    """What tells recordings of this input from those of others: the name of its folder."""
    taken = {_resolved(description["input"]): ""}
    taken |= {_resolved(one["input"]): one["prefix"] for one in description.get(APPENDED, [])}
    if _resolved(given) in taken:
        return taken[_resolved(given)]
    name = Path(given).name or "more"
    free = (f"{name}{mark}/" for mark in ("", *(f"-{k}" for k in range(2, len(recordings) + 3))))
    used = {name.split("/", 1)[0] + "/" for name in recordings if "/" in name}
    return next(prefix for prefix in free if prefix not in used | {*taken.values()})


def plan_more(
    source: Source,
    parts: list[Part],
    options: ImportOptions,
    before: Before,
) -> ImportPlan:
    """Decide where the new recordings go; those that are there go nowhere.

    Args:
        source: what is read.
        parts: of it.
        options: what becomes of the recordings, as in the import.
        before: what is there.

    Returns:
        The plan, without parts if nothing is new.

    Raises:
        ForeframeError: the new recordings do not fit to those that are there.
    """
    names = {part.name: [name for name, _ in source.lengths(part)] for part in parts}
    given_up = _given_up(before)
    new = {
        part.name: [
            name
            for name in dict.fromkeys(names[part.name])
            if before.prefix + name not in before.recordings
            and not (before.prefix + name in given_up and _unchanged(part, before.inputs))
        ]
        for part in parts
    }
    told = dict(before.description)
    own = {part.split for part in parts}
    parts = [part for part in parts if new[part.name]]
    if not parts:
        return ImportPlan([], {}, False, before.widths, None, told)
    wanted = {name for own in new.values() for name in own}
    first = first_recording(source, parts, options, lambda name: name not in wanted)
    require_rules(options, widths_of(first)["actions"])
    rate = source.describe().get("frame_rate") or options.recorded_rate or first.rate
    _require_rate(options.thinning.rate(rate), before.description.get("frame_rate"))
    splits = _splits(source, parts, own, new, options, before)
    pieces: Pieces = {
        part.name: {
            name: [Piece(splits[name])] if name in wanted and name in splits else []
            for name in names[part.name]
        }
        for part in parts
    }
    parts = [
        replace(part, split=part.split or "train")
        for part in parts
        if any(pieces[part.name][name] for name in new[part.name])
    ]
    return ImportPlan(parts, pieces, False, before.widths, rate, told)


def _given_up(before: Before) -> set[str]:
    """Recordings that could not be read when their files were looked at last."""
    return {skip["name"] for skip in before.description.get("skipped", [])}


def _unchanged(part: Part, inputs: Mapping[str, int]) -> bool:
    """Whether the files of a part are as long as when they were read."""
    with suppress(OSError):
        return all(inputs.get(str(path)) == path.stat().st_size for path in files_of(part))
    return False


def _require_rate(rate: float | None, before: float | None) -> None:
    if rate and before and abs(rate / before - 1) > RATE_TOLERANCE:
        raise ForeframeError(
            f"the new recordings have {rate:.4g} frames a second, and the dataset {before:.4g}. "
            "Import both into a new folder with --frame-rate, which brings all to one rate."
        )


def _splits(
    source: Source,
    parts: list[Part],
    own: set[str | None],
    new: Mapping[str, Sequence[str]],
    options: ImportOptions,
    before: Before,
) -> dict[str, str]:
    """The split of each new recording, by its name in the source."""
    names = list(dict.fromkeys(name for part in parts for name in new[part.name]))
    if options.split is not None:
        return dict.fromkeys(names, options.split)
    if options.split_file is not None:
        known = [name.removeprefix(before.prefix) for name in before.recordings]
        listed = by_list(options.split_file, [*names, *known])
        for name, split in listed.items():
            there = before.recordings.get(before.prefix + name)
            if there is not None and there != {split}:
                raise ForeframeError(
                    f"{options.split_file}: {name} is in {' and '.join(sorted(there))} already, "
                    f"not in {split}. What is in a dataset stays where it is."
                )
        return {name: listed[name] for name in names if name in listed}
    fractions = {"validate": options.validate, "test": options.test}
    theirs = {
        name: part.split
        for part in parts
        for name in new[part.name]
        if part.split is not None and (part.split != "train" or own >= set(SPLITS))
    }
    free = [name for name in names if name not in theirs]
    missing = [split for split in fractions if split not in own]
    return theirs | _divided(
        free, missing, fractions, options, grouping(options, source.group), before
    )


def _divided(
    names: Sequence[str],
    missing: Sequence[str],
    fractions: Mapping[str, float],
    options: ImportOptions,
    own: Callable[[str], str],
    before: Before,
) -> dict[str, str]:
    """A split for each name: that of its group where that is there already, else by the shares."""
    mine = {
        name: own(name.removeprefix(before.prefix))
        for name in before.recordings
        if name.startswith(before.prefix)
    }
    groups = {name: own(name) for name in names}
    if options.group is None and len({*groups.values(), *mine.values()}) < FEW:
        groups, mine = {name: name for name in names}, {name: name for name in mine}
    there: dict[str, set[str]] = {}
    for name, group in mine.items():
        there.setdefault(group, set()).update(before.recordings[name])
    for name, group in groups.items():
        if len(there.get(group, ())) > 1:  # it was divided already
            groups[name] = name
    have = Counter(next(iter(splits)) for splits in there.values() if len(splits) == 1)
    have.update(
        split for name, splits in before.recordings.items() if name not in mine for split in splits
    )
    fresh = list(dict.fromkeys(group for group in groups.values() if group not in there))
    splits = divide_more(fresh, have, missing, fractions, (options.split_seed, before.round))
    splits |= {group: next(iter(own)) for group, own in there.items() if len(own) == 1}
    return {name: splits[group] for name, group in groups.items()}
