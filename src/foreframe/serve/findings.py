"""What diagnosis and probe have said of a run: beside the curves of its training."""

from contextlib import suppress
from pathlib import Path

from foreframe.diagnosis.result import Diagnosis
from foreframe.errors import ForeframeError
from foreframe.probe.result import ProbeResult
from foreframe.runs.folder import BEST, DIAGNOSIS, PROBE
from foreframe.serve.schemas import FindingOut


def findings(run: Path, name: str) -> list[FindingOut]:
    """What was found, and how to find out what was not yet looked at.

    Args:
        run: the run folder.
        name: of the run, in the commands.
    """
    found: list[FindingOut] = []
    for title, file, verb in (
        ("Does it listen, does it spread", PROBE, "probe"),
        ("What the latent carries", DIAGNOSIS, "diagnose"),
    ):
        path, words = run / file, []
        with suppress(ForeframeError):  # damaged, or being written: as if it were not there
            words = _words(path)
        old = bool(words) and (run / BEST).stat().st_mtime > path.stat().st_mtime
        found.append(
            FindingOut(title=title, words=words, stale=old, command=f"foreframe {verb} {name}")
        )
    return found


def _words(path: Path) -> list[str]:
    if not path.is_file():
        return []
    if path.name == PROBE:
        return list(ProbeResult.read(path).words)
    return [f"{one.level}: {one.text}" for one in Diagnosis.read(path).verdicts]
