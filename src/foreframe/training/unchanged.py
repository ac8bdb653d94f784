"""A run that is gone on with has the settings and the data that it was begun with, or says so.

run.json says what a run is and what each split of its data holds, as checksums; every checkpoint
repeats run.json. A resume compares all three: run.json with the checkpoint, the data with run.json.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import foreframe
from foreframe.config.plain import differences
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.runs.folder import LAST, RUN_CONFIG
from foreframe.runs.remedy import remedy
from foreframe.runs.training_data import KEY, TrainingData, contents, fingerprint
from foreframe.system.files import read_json, write_json
from foreframe.system.places import Place
from foreframe.training.progress import Progress

SPLITS = "splits"
"""Of the entry in run.json: contents of the training and of the validation split."""

CHANGES = "data_changes"
"""Of the entry in run.json: a record of each time that the data were changed knowingly."""

_OF_DATA = ("data", KEY, SPLITS, CHANGES)

Tell = Callable[[str], None]


def data_entries(root: Place, splits: Mapping[str, Store]) -> dict[str, Any]:
    """What run.json says of the data.

    Args:
        root: of the dataset.
        splits: the training and the validation split.
    """
    return {
        "data": str(root),
        KEY: TrainingData.of(root, splits["train"]).to_json(),
        SPLITS: {name: contents(store) for name, store in splits.items()},
    }


def settings_text(run: Path) -> str:
    """run.json in the form in which a checkpoint repeats it.

    Raises:
        ForeframeError: run.json is missing or damaged.
    """
    return json.dumps(read_json(run / RUN_CONFIG), sort_keys=True)


@dataclass(frozen=True)
class Unchanged:
    """The comparison of a run that is gone on with.

    Attributes:
        run: its folder.
        data_changed: whether other data were asked for knowingly.
        tell: called with a line for the user.
    """

    run: Path
    data_changed: bool
    tell: Tell

    def settings(self, kept: str | None) -> None:
        """Compare run.json with what the last checkpoint says of it.

        Args:
            kept: run.json as the checkpoint has it; None in one of version 0.1.

        Raises:
            ForeframeError: run.json was changed; says where.
        """
        if kept is None:
            self.tell(
                f"{self.run / LAST}: an earlier version wrote it, without a record of the "
                f"settings: whether {RUN_CONFIG} was changed since cannot be told."
            )
            return
        try:
            now, then = read_json(self.run / RUN_CONFIG), json.loads(kept)
            if not isinstance(then, dict):
                raise TypeError("it is no object")
        except (ValueError, TypeError, RecursionError) as error:
            raise ForeframeError(
                f"{self.run / LAST}: what it says of its run cannot be read ({error}). "
                f"{remedy(self.run / LAST)}"
            ) from error
        if self.data_changed:  # a run that was stopped in the middle of such a change goes on
            now, then = (
                {key: value for key, value in values.items() if key not in _OF_DATA}
                for values in (now, then)
            )
        changed = differences(then, now)
        if changed:
            raise ForeframeError(
                f"{self.run / LAST}: was written by another configuration than {RUN_CONFIG} has "
                f"now: {'; '.join(changed[:4])}{'; ...' * (len(changed) > 4)}. Use them with each "
                f"other only: put {RUN_CONFIG} back as it was, or start a new run from these "
                f"weights: --init-from {self.run}. If it was you who went on with other data "
                "(--data-changed), say so again."
            )

    def data(self, root: Place, splits: Mapping[str, Store], progress: Progress) -> None:
        """Compare the data with what run.json says of them; note a change that was asked for.

        Args:
            root: of the dataset.
            splits: the training and the validation split.
            progress: where the run stands.

        Raises:
            ForeframeError: the data are others, and that was not asked for; says what differs.
        """
        values = read_json(self.run / RUN_CONFIG)
        now = data_entries(root, splits)
        if SPLITS in values:
            other = _other_data(values[SPLITS], now[SPLITS])
        else:
            other = self._other_than_of_old(values, splits)
            if not other:
                write_json(self.run / RUN_CONFIG, values | {SPLITS: now[SPLITS]})
        if other and not self.data_changed:
            raise ForeframeError(
                f"{root}: these are not the data that {self.run} was trained on "
                f"({values.get('data')}): {'; '.join(other)}. Give those data, or start a new run "
                f"from these weights (--init-from {self.run}), or go on with other data "
                "knowingly: foreframe train ... --resume --data-changed."
            )
        if other:
            self.tell(f"{root}: other data than before, as you asked: {'; '.join(other)}.")
            note = {
                "epoch": progress.epoch,
                "step": progress.step,
                "before": {key: values.get(key) for key in ("data", SPLITS)},
                "foreframe": foreframe.__version__,
            }
            changes = [*values.get(CHANGES, []), note]
            write_json(self.run / RUN_CONFIG, values | now | {CHANGES: changes})

    def _other_than_of_old(self, values: Any, splits: Mapping[str, Store]) -> list[str]:
        """The same of run.json as version 0.1 wrote it, which says less of the data."""
        kept = values.get(KEY)
        there = kept.get("fingerprint") if isinstance(kept, Mapping) else None
        if there is not None and there != fingerprint(splits["train"]):
            return ["train has other contents"]
        self.tell(
            f"{self.run / RUN_CONFIG}: an earlier version wrote it, without a "
            f"{'full ' * (there is not None)}record of the data: whether they were changed since "
            "cannot be told. They are on record from now on."
        )
        return []


def _other_data(kept: Any, now: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What differs between the splits on record and those that are there, in words."""
    other = []
    for name, here in now.items():
        there = kept.get(name) if isinstance(kept, Mapping) else None
        if not isinstance(there, Mapping):
            other.append(f"{name} is not on record")
        elif there.get("fingerprint") != here["fingerprint"]:
            sizes = [
                f"{here[what]} {what} in place of {there.get(what)}"
                for what in ("sequences", "frames")
                if here[what] != there.get(what)
            ]
            same = "the same numbers of sequences and frames, but other contents"
            other.append(f"{name} has {', '.join(sizes) or same}")
    return other
