"""Whatever is installed with foreframe may be used, changed and passed on by anybody."""

import re
from importlib import metadata

import pytest
from packaging.requirements import Requirement

PERMISSIVE = re.compile(
    r"(MIT(-CMU)?|(0|[23]-Clause )?BSD(-[23]-Clause)?|0BSD|Apache(-2\.0| 2\.0| Software)|BSL-1\.0"
    r"|ISC|PSF-2\.0|Python Software Foundation|Zlib|CC0-1\.0|LLVM-exception)"
    r"( License( \(ISCL)?)?"
)
"""Licences that ask for no more than to be named."""

NAMED = {
    # Copyleft of single files, which foreframe neither changes nor passes on.
    "certifi": "Mozilla Public License 2.0 (MPL 2.0)",
    "tqdm": "MPL-2.0 AND MIT",
    "hypothesis": "MPL-2.0",
    "pathspec": "Mozilla Public License 2.0 (MPL 2.0)",
    # Needed by gym-pusht alone (the extra pusht): a library that is linked at run time, unchanged.
    "pygame": "GNU Library or Lesser General Public License (LGPL)",
    "cffi": "MIT-0",
    # Says it only in its file: MIT.
    "axe-playwright-python": "",
}


def licence(distribution: metadata.Distribution) -> str:
    """As its metadata say it, the newest way first."""
    found = distribution.metadata
    classified = [
        text.rsplit(" :: ", 1)[-1]
        for text in found.get_all("Classifier") or []
        if text.startswith("License ::") and text != "License :: OSI Approved"
    ]
    return found.get("License-Expression") or "; ".join(classified) or found.get("License") or ""


def needed() -> dict[str, metadata.Distribution]:
    """What foreframe and all its extras need, as far as it is installed."""
    found: dict[str, metadata.Distribution] = {}
    extras = tuple(metadata.metadata("foreframe").get_all("Provides-Extra") or ())
    waiting = [("foreframe", extras)]
    while waiting:
        name, extras = waiting.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in found:
            continue
        try:
            found[key] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        for text in found[key].requires or []:
            wanted = Requirement(text)
            cases = [{"extra": extra} for extra in ("", *extras)]
            if wanted.marker is None or any(wanted.marker.evaluate(case) for case in cases):
                waiting.append((wanted.name, tuple(wanted.extras)))
    return found


def is_permissive(text: str) -> bool:
    parts = [part.strip(" ()") for part in re.split(r"; | AND | OR | WITH ", text)]
    return bool(text) and all(PERMISSIVE.fullmatch(part) for part in parts)


def test_every_dependency_is_permissive():
    found = needed()
    assert len(found) > 40, "the dependencies are not installed"
    wrong = {
        name: licence(one)
        for name, one in found.items()
        if not is_permissive(licence(one)) and licence(one) != NAMED.get(name)
    }
    assert not wrong


@pytest.mark.parametrize(
    ("text", "permissive"),
    [
        ("MIT", True),
        ("Apache-2.0 AND BSD-3-Clause", True),
        ("GPL-3.0-only", False),
        ("MIT AND GPL-2.0-or-later", False),
        ("GNU Affero General Public License v3", False),
        ("", False),
    ],
)
def test_what_is_permissive(text, permissive):
    assert is_permissive(text) is permissive
