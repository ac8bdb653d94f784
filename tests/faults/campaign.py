"""Mutates an input, again and again, with Hypothesis choosing where and how.

A fault is shrunk to its smallest form by Hypothesis; what it was is kept as a file below
``tests/faults/corpus/INPUT/``, which the tests read again for ever.
"""

import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.faults.edits import applied, edits_of, inside, wraps
from tests.faults.inputs import Tried

CORPUS = Path(__file__).parent / "corpus"


def folder_of(name: str) -> Path:
    """Where the corpus of an input is."""
    return CORPUS / re.sub(r"\W+", "-", name).strip("-").lower()


def mutate(
    name: str,
    place: Path,
    examples: int,
    number: int,
    before: Callable[[Path, bytes, bool], None] = lambda path, content, exact: None,
) -> Counter[str]:
    """Read an input in ``examples`` mutations.

    Args:
        name: of the input.
        place: an empty folder.
        examples: how many.
        number: seed.
        before: called before each is read with the file, its content and whether its checksum is
            as it was.

    Returns:
        How many were "taken" (wholly or in part), "refused" and "unchanged".

    Raises:
        BaseException: what the reader raised though it should have refused, with the path and the
            content as notes.
    """
    tried = Tried(name, place)
    counts: Counter[str] = Counter()

    @seed(number)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=False,
        print_blob=False,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def run(data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(list(tried.contents)))
        edits = data.draw(edits_of(path.suffix))
        deep = wraps(path) and data.draw(st.booleans())
        content = tried.contents[path]
        if deep:
            share = data.draw(st.floats(0, 1, exclude_max=True))
            spoilt = inside(path.suffix, content, share, lambda bytes_: applied(bytes_, edits))
        else:
            spoilt = applied(content, edits)
        if spoilt == content:
            counts["unchanged"] += 1
            return
        before(path, spoilt, not deep)
        counts["taken" if tried.read(path, spoilt, exact=not deep) else "refused"] += 1

    run()
    return counts


_EXACT = "-exact"
"""Behind the number of a case whose checksum was not made new."""


def keep(name: str, relative: Path, content: bytes, exact: bool) -> Path:
    """Put what was a fault into the corpus; returns its folder."""
    folder = folder_of(name)
    number = len(os.listdir(folder)) if folder.is_dir() else 0
    case = folder / f"{number:03d}{_EXACT * exact}"
    path = case / relative
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return case


def kept(name: str) -> list[tuple[Path, Path, bool]]:
    """The corpus of an input: each file, its place in the input, and whether it is exact."""
    folder = folder_of(name)
    return [
        (file, file.relative_to(case), case.name.endswith(_EXACT))
        for case in sorted(folder.iterdir() if folder.is_dir() else ())
        for file in sorted(case.rglob("*"))
        if file.is_file()
    ]
