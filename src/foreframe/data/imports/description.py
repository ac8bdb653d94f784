"""What a dataset says of itself in dataset.json: what it was made of, and with which options."""

import json
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import foreframe
from foreframe.data.imports.appending import APPENDED, OF_RECORDINGS, Before
from foreframe.data.imports.options import ImportOptions
from foreframe.data.imports.part import PartRecord, files_of
from foreframe.data.imports.plan import ImportPlan
from foreframe.data.lab import SPLITS
from foreframe.data.resumable import Resumable
from foreframe.data.sources.source import Part, Source
from foreframe.data.store.store import file_sha256
from foreframe.data.store.writer import join_shards
from foreframe.errors import ForeframeError
from foreframe.system.files import write_json

DESCRIPTION = "dataset.json"

_MOST_INPUTS = 100_000
"""Files of the input that are noted, so that it can be said what has come to it."""

_FIRST_OPTIONS = (
    "size",
    "crop",
    "clip_frames",
    "shift_actions",
    "validate",
    "test",
    "split",
    "split_seed",
)


def finished(out: Path) -> dict[str, Any] | None:
    """What dataset.json says of a finished import; None if there is none."""
    try:
        values = json.loads((out / DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) and "input" in values else None


def describe(source: Source, options: ImportOptions) -> dict[str, Any]:
    """What was asked for: two imports with the same description give the same bytes."""
    asked = asdict(options)
    if options.split_file is not None:  # what it says counts, not where it lies
        asked["split_file"] = (
            file_sha256(options.split_file) if options.split_file.is_file() else ""
        )
    settings = {
        item.name: getattr(source, item.name)
        for item in fields(source)  # type: ignore[arg-type]
        if "later" not in item.metadata or getattr(source, item.name) != item.default
    }
    return {
        "importer": type(source).__name__.removesuffix("Source").lower(),
        "input": str(settings.pop("input")),
        "settings": settings,
        # What came later is named where it was asked for, so that older imports go on.
        "options": {
            name: value
            for name, value in asked.items()
            if name in _FIRST_OPTIONS or value != getattr(ImportOptions(), name)
        },
    }


def grown(source: Source, out: Path) -> str:
    """What has come to the input of a finished import, or was changed in it, in words."""
    try:
        before = json.loads((out / DESCRIPTION).read_text(encoding="utf-8")).get("inputs")
        now = _inputs(source.parts())
    except (OSError, ValueError, AttributeError, ForeframeError):
        return ""  # the input need not be there any more
    if not isinstance(before, dict):
        return ""
    new = [Path(name).name for name in now if name not in before]
    other = [Path(name).name for name, size in now.items() if before.get(name, size) != size]
    if not new and not other:
        return ""
    said = [
        f"{what} ({', '.join(names[:3])}{f' and {len(names) - 3} more' * (len(names) > 3)})"
        for what, names in (("new files", new), ("changed ones", other))
        if names
    ]
    return (
        f" But its input has {' and '.join(said)} since then: --append takes new recordings in; "
        "what was changed needs an import into a new folder."
    )


def _inputs(parts: list[Part]) -> dict[str, int]:
    """The files that are read, and their sizes.

    Raises:
        OSError: one cannot be looked at.
    """
    files = {str(path): path for part in parts for path in files_of(part)}
    return {name: path.stat().st_size for name, path in files.items()}


def finish(
    target: Resumable,
    told: dict[str, Any],
    plan: ImportPlan,
    records: list[PartRecord],
    more: Before | None = None,
    given: str = "",
) -> None:
    """Join the shards of each split, and write what the dataset was made of.

    Args:
        target: the dataset.
        told: what is said of it, or what dataset.json said before more was taken in.
        plan: of the parts.
        records: of the parts.
        more: what was there before.
        given: the input that more was taken from.
    """
    skipped = [asdict(skip) for record in records for skip in record.skipped]
    by_time = plan.divided_by_time
    if more is None:
        source = told | target.description | {"foreframe": foreframe.__version__}
    else:
        counts = Counter[str]()
        for record in records:
            counts.update(record.sequences)
        source = {key: value for key, value in told.items() if key not in OF_RECORDINGS}
        source[APPENDED] = [
            *told.get(APPENDED, []),
            {
                "input": given if "://" in given else str(Path(given).resolve()),
                "prefix": more.prefix,
                "sequences": dict(counts),
                "foreframe": foreframe.__version__,
            },
        ]
        by_time = told["divided_by_time"]
        tried = {
            more.prefix + name for own in plan.pieces.values() for name, to in own.items() if to
        }
        skipped = [skip for skip in told["skipped"] if skip["name"] not in tried] + skipped
    for split in SPLITS:
        shards = [
            more.shard(part.name) if more else part.name
            for part, record in zip(plan.parts, records, strict=True)
            if split in record.sequences
        ]
        shards = [*(more.shards.get(split, []) if more else []), *shards]
        if shards:
            join_shards(target.out / split, shards, {"source": source})
    with suppress(OSError):
        inputs = (more.inputs if more else {}) | _inputs(plan.parts)
        if len(inputs) <= _MOST_INPUTS:
            source["inputs"] = inputs
    write_json(target.out / DESCRIPTION, {**source, "divided_by_time": by_time, "skipped": skipped})
