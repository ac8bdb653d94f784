"""The forms in which robots are recorded in HDF5, told by the names in a file."""

import json
from dataclasses import dataclass

from foreframe.data.lab import SPLIT_NAMES
from foreframe.data.sources.hdf5_file import Hdf5File, open_hdf5
from foreframe.data.sources.listing import shown
from foreframe.data.sources.source import UnusableError
from foreframe.system.places import Place

MASKS = "mask"
"""The group in which robomimic keeps lists of demonstrations: mask/train, mask/valid, ..."""

_TRIED = 8
"""Recordings of a file of which one must be as the form says."""


@dataclass(frozen=True)
class Form:
    """One way of laying recordings into a file.

    Attributes:
        name: whose it is.
        episodes: pattern of the groups that hold one recording each; empty: the file is one.
        needs: what each of them has.
        action: the dataset with the actions.
        positions: datasets with positions, the first one that is there is taken.
    """

    name: str
    episodes: str
    needs: tuple[str, ...]
    action: str = ""
    positions: tuple[str, ...] = ()


FORMS = (
    Form(
        "robomimic, LIBERO",
        "data/demo_*",
        ("actions",),
        "actions",
        ("obs/robot0_eef_pos", "obs/ee_pos", "obs/extra/tcp_pose[:3]"),
    ),
    Form("ManiSkill", "traj_*", ("actions",), "actions", ("obs/extra/tcp_pose[:3]",)),
    Form(
        "ALOHA",
        "",
        ("action", "observations/images"),
        "action",
        ("observations/qpos",),
    ),
    Form("RoboNet", "", ("policy/actions", "env"), "policy/actions", ("env/state",)),
)


def form_of(file: Hdf5File) -> Form | None:
    """The form that a file has; None for others."""
    for form in FORMS:
        episodes = file.matching(form.episodes)[:_TRIED]
        if any(all(file.has(f"{path}/{name}") for name in form.needs) for path in episodes):
            return form
    return None


def given_form(form: Form | None, episodes: str) -> Form:
    """The form of a file whose recordings are where an option says."""
    if not episodes:
        return form or Form("HDF5", "", ())
    if form is not None and episodes.strip("/") == form.episodes:
        return form
    return Form("HDF5", episodes.strip("/"), ())


def rate_of(place: Place) -> float | None:
    """Steps a second, where robomimic's settings of the simulator say it."""
    with open_hdf5(place) as file:
        settings = _json(file.attribute("data", "env_args"))
    nested = settings.get("env_kwargs")
    rate = nested.get("control_freq") if isinstance(nested, dict) else None
    usable = isinstance(rate, (int, float)) and not isinstance(rate, bool) and 0 < rate < 1e6
    return float(rate) if usable else None  # type: ignore[arg-type]


def _json(text: object) -> dict[str, object]:
    try:
        values = json.loads(text) if isinstance(text, (str, bytes)) else None
    except (ValueError, RecursionError):
        values = None
    return values if isinstance(values, dict) else {}


def splits_of(file: Hdf5File) -> dict[str, list[str]]:
    """Our names of the splits that robomimic's masks make, and the recordings of each.

    Raises:
        UnusableError: a mask cannot be read, or two of them have the same recording.
    """
    splits: dict[str, list[str]] = {}
    if not file.is_group(MASKS):
        return splits
    for name in file.names(MASKS):
        if name in SPLIT_NAMES:
            names = _texts(file, f"{MASKS}/{name}")
            both = next((n for own in splits.values() for n in own if n in set(names)), None)
            if both is not None:
                raise UnusableError(
                    f"{shown(both)} is in two of the masks: {', '.join(splits)}, "
                    f"{SPLIT_NAMES[name]}"
                )
            splits[SPLIT_NAMES[name]] = names
    return splits


def _texts(file: Hdf5File, path: str) -> list[str]:
    array = file.array(path)
    if len(array.shape) != 1 or array.dtype.kind not in "SO":
        raise UnusableError(f"{array}: is no list of names")
    texts: list[str] = []
    for value in array.rows(0, array.shape[0]).tolist():
        if not isinstance(value, (bytes, str)):
            raise UnusableError(f"{array}: is no list of names")
        text = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
        texts.append(text.strip("\0 "))
    return texts
