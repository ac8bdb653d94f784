"""The results of a probe, of a diagnosis and of planning, for the report of their run."""

import shlex
from pathlib import Path
from typing import Any

from foreframe.diagnosis.result import Diagnosis
from foreframe.evaluation.provenance import weights_hash
from foreframe.planning.result import PlanResult, PlanRow
from foreframe.probe.result import ProbeResult
from foreframe.report.numbers import plural
from foreframe.report.pictures import uri
from foreframe.report.read import Run
from foreframe.runs.folder import (
    DIAGNOSIS_FIGURE,
    PLANS,
    PROBE_FIGURE,
    PROBE_LANDSCAPE,
    PROBE_MAPS,
)

_FILMS = 3
_LEVELS = {"healthy": "Healthy", "mind": "Mind", "ill": "Ill"}


def findings(run: Run) -> list[dict[str, Any]]:
    """A section for each of probe, diagnosis and planning that was run: sentences and pictures."""
    sections = []
    if run.probe is not None:
        sections.append(_probe(run, run.probe))
    if run.diagnosis is not None:
        sections.append(_diagnosis(run, run.diagnosis))
    if run.plans is not None:
        sections.append(_planning(run, run.plans))
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


def _planning(run: Run, plans: PlanResult) -> dict[str, Any]:
    """Success of each row, and the first episodes of the model, unselected."""
    folder = run.folder / PLANS
    films = sorted((folder / "episodes").glob("*/model*.gif"))[:_FILMS]
    return {
        "name": "planning",
        "title": "What it is good for: planning",
        "stale": plans.hashes.get("weights") != weights_hash(run.folder),
        "command": f"foreframe plan {shlex.quote(str(run.folder))} --out "
        f"{shlex.quote(str(folder))}",
        "words": [*(_row(row) for row in plans.rows), *plans.words],
        "pictures": [
            {
                "uri": uri(film.read_bytes(), "gif"),
                "alt": f"Animation of {film.parent.name}: what happened, the goal, and what was "
                "imagined when each action was planned.",
                "title": f"{film.parent.name}, one of the first episodes, not selected",
            }
            for film in films
        ],
        "about": f"{plural(plans.episodes, 'episode')} of {plans.task}; brackets give 95 % "
        f"intervals. Command: {plans.command or 'not recorded'}",
    }


def _row(row: PlanRow) -> str:
    rates = [
        f"within {100 * rate.threshold:g} cm in {100 * rate.rate:.0f} % "
        f"[{100 * rate.interval[0]:.0f}, {100 * rate.interval[1]:.0f}]"
        for rate in row.success
    ]
    return f"{row.label[0].upper()}{row.label[1:]}: {', '.join(rates)}."


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
