"""The first recordings of an import, as they will be, before the long run."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from foreframe.data.imports.cutting import sequences
from foreframe.data.imports.division import Piece
from foreframe.data.imports.options import ImportOptions, with_usual_rule
from foreframe.data.imports.part import fault
from foreframe.data.imports.plan import ImportPlan, listed, plan_import
from foreframe.data.recording import Recording
from foreframe.data.sources.source import Skip, Source, UnusableError
from foreframe.errors import ForeframeError


def preview(
    source: Source, options: ImportOptions | None = None, *, count: int = 8
) -> list[tuple[str, Recording]]:
    """Names and contents of the first sequences that an import would make.

    Args:
        source: what is read.
        options: what becomes of the recordings; by default those of ``ImportOptions``.
        count: how many at most.

    Raises:
        ForeframeError: the input or the options are refused, or nothing could be read.
    """
    options = with_usual_rule(options or ImportOptions(), source)
    options.check()
    # Where they go is of no matter here.
    plan = plan_import(source, source.parts(), replace(options, split="train", split_file=None))
    skipped: list[Skip] = []
    found = list(islice(_sequences(source, options, plan, skipped), count))
    if not found:
        raise ForeframeError(f"nothing could be imported ({listed(skipped) or 'there is none'}).")
    return found


def _sequences(
    source: Source, options: ImportOptions, plan: ImportPlan, skipped: list[Skip]
) -> Iterator[tuple[str, Recording]]:
    for item in (item for part in plan.parts for item in source.read(part)):
        if isinstance(item, Skip):
            skipped.append(item)
            continue
        reason = fault(item, plan.widths)
        try:
            if reason is not None:
                raise UnusableError(reason)
            for _, name, recording in sequences(item, [Piece("train")], options, plan.rate):
                yield name, recording
        except (UnusableError, ForeframeError) as error:
            skipped.append(Skip(item.name, str(error).rstrip(".")))
