"""The results of a probe and of a diagnosis, for the report of their run."""

import shlex
from pathlib import Path
from typing import Any

from foreframe.diagnosis.result import Diagnosis
from foreframe.probe.result import ProbeResult
from foreframe.report.numbers import plural
from foreframe.report.pictures import uri
from foreframe.report.read import Run
from foreframe.runs.folder import DIAGNOSIS_FIGURE, PROBE_FIGURE, PROBE_LANDSCAPE, PROBE_MAPS

_LEVELS = {"healthy": "Healthy", "mind": "Mind", "ill": "Ill"}


def findings(run: Run) -> list[dict[str, Any]]:
    """A section for each of probe and diagnosis that was run, with its sentences and pictures."""
    sections = []
    if run.probe is not None:
        sections.append(_probe(run, run.probe))
    if run.diagnosis is not None:
        sections.append(_diagnosis(run, run.diagnosis))
    return sections


def _probe(run: Run, probe: ProbeResult) -> dict[str, Any]:
    sequences = plural(probe.listening.sequences, "sequence")
    pictures = {
        PROBE_FIGURE: "What false conditions cost, how well actions are recovered from frames, and "
        "how far samples spread, as charts",
        PROBE_MAPS: "Where samples differ, as heat over recorded frames",
    }
    if probe.landscape is not None:
        pictures[PROBE_LANDSCAPE] = (
            "Cost of actions around the true one, as a heat map with the minimum of each start"
        )
    return {
        "name": "probe",
        "title": "Does it listen, does it spread",
        "stale": "probe" in run.stale,
        "command": _command(run, "probe"),
        "words": probe.words,
        "pictures": _pictures(run.folder, pictures),
        "about": f"Probe of {sequences} of the {probe.split} split; "
        f"brackets and “to” give 95 % intervals. Command: {probe.command or 'not recorded'}",
    }


def _diagnosis(run: Run, diagnosis: Diagnosis) -> dict[str, Any]:
    pictures = {
        DIAGNOSIS_FIGURE: "KL of each dimension of the latent, KL at each step, and deviations of "
        "posterior and prior, as charts",
    }
    return {
        "name": "latent",
        "title": "What the latent carries",
        "stale": "diagnosis" in run.stale,
        "command": _command(run, "diagnose"),
        "words": [f"{_LEVELS[one.level]}: {one.text}" for one in diagnosis.verdicts],
        "pictures": _pictures(run.folder, pictures),
        "about": f"Diagnosis on the {diagnosis.split} split.",
    }


def _command(run: Run, verb: str) -> str:
    folder = shlex.quote(str(run.folder))
    return f"foreframe {verb} {folder} --data {shlex.quote(str(run.config.get('data', 'DIR')))}"


def _pictures(folder: Path, alts: dict[str, str]) -> list[dict[str, str]]:
    """Those of the named PNG files that are there."""
    return [
        {"uri": uri((folder / name).read_bytes(), "png"), "alt": f"{alt}.", "title": alt}
        for name, alt in alts.items()
        if (folder / name).is_file()
    ]
