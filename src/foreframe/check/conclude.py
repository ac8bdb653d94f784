"""From what was measured to what a person should do."""

from collections.abc import Iterator

from foreframe.check.alignment import Alignment, Link
from foreframe.check.findings import Finding, some
from foreframe.check.others import Others
from foreframe.check.scan import Scan
from foreframe.config.model import FRAME_SIZES, ModelConfig, frame_size, nets_for, size_options
from foreframe.config.training import TrainConfig
from foreframe.data.store.opened import too_short
from foreframe.data.store.store import Store

_ROWS = {1: "one row", 2: "two rows"}


def change(lag: int) -> str:
    """The change that ``action[t]`` would go with at this lag, in words."""

    def frame(offset: int) -> str:
        return "t" if offset == 0 else f"t{offset:+d}"

    return f"{frame(lag)} to {frame(lag + 1)}"


def length_findings(
    scan: Scan, n_past: int, n_future: int | None, largest: int
) -> Iterator[Finding]:
    """Sequences that are too short for the clips that are asked for, or that training takes."""
    asked = n_past + (1 if n_future is None else n_future)
    short = too_short(scan.store, asked)
    usual = n_past + TrainConfig.n_future
    if len(short):
        names = tuple(scan.store.names[k] for k in short)
        remedy = f"or lower --n-future to {largest} at most" if largest > 0 else ""
        yield Finding(
            "warning" if scan.split == "test" else "error",
            scan.split,
            f"{len(short):,} of {len(scan.store):,} sequences have fewer than n_past + n_future = "
            f"{asked} frames ({some(names)}; the shortest has {int(scan.store.lengths.min())}): "
            + ", ".join(part for part in ("remove them", remedy) if part)
            + ".",
            names,
        )
    elif n_future is None and 0 < 2 * len(short := too_short(scan.store, usual)) <= len(scan.store):
        # Where most are short, the number of frames is a setting and not a fault of some.
        names = tuple(scan.store.names[k] for k in short)
        yield Finding(
            "warning",
            scan.split,
            f"{len(short):,} of {len(scan.store):,} sequences have fewer than the {n_past} + "
            f"{TrainConfig.n_future} frames that a training takes by itself ({some(names)}; the "
            f"shortest has {int(scan.store.lengths.min())}): remove them, or train with "
            f"--n-future {max(largest, 1)}.",
            names,
        )


def training_flags(
    stores: list[Store], nets: tuple[str, ...], n_future: int, largest: int
) -> Iterator[str]:
    """Options without which a training refuses the data."""
    if not stores:
        return
    if nets and all(frame_size(net) != ModelConfig().frame_size for net in nets):
        yield f"--net {nets[0]}"
    if stores[0].action_dim is None:
        yield f"--condition {'none' if stores[0].position_dim is None else 'positions'}"
    if 0 < largest < TrainConfig.n_future:
        yield f"--n-future {min(n_future, largest)}"


def size_findings(scan: Scan, first: Scan) -> Iterator[Finding]:
    """Frames that no net takes, or that the nets of the ``first`` split do not."""
    height, width = scan.store.size
    if not nets_for(scan.store.size):
        known = " or ".join(f"{size[1]}x{size[0]}" for size in FRAME_SIZES)
        remedy = " or ".join(map(size_options, FRAME_SIZES))
        yield Finding(
            "error",
            scan.split,
            f"frames of {width}x{height} pixels, and the nets take {known}: "
            f"import the data again with {remedy}.",
        )
    elif nets_for(first.store.size) and scan.store.size != first.store.size:
        other = first.store.size
        yield Finding(
            "error",
            scan.split,
            f"frames of {width}x{height} pixels, but {other[1]}x{other[0]} in {first.split}: a net "
            f"takes one size. Import this split again with {size_options(other)}, or "
            f"{first.split} with {size_options(scan.store.size)}.",
        )


def alignment_findings(alignment: Alignment) -> Iterator[Finding]:
    """What the links say together; positions say more than pixels."""
    if alignment.states:
        yield _states(alignment.states)
    if alignment.others is not None:
        yield _others(alignment.others)
        return
    links = {link.kind: link for link in alignment.links if link.verdict != "no link"}
    positions, images = links.get("positions"), links.get("images")
    camera = alignment.camera
    if (
        positions is not None
        and images is not None
        and camera is not None
        and camera.sure
        and camera.best
    ):
        yield _disagreement(positions, images, camera)
    elif links:
        # A robot that answers over several frames moves most in a later one: where positions say
        # something, be it that nothing can be told, the images do not count.
        yield from _shift(positions or next(iter(links.values())))
    else:
        where = " and ".join(
            {"positions": "the recorded positions", "images": "the motion in the images"}[link.kind]
            for link in alignment.links
        )
        yield Finding(
            "warning",
            "",
            f"the actions do not explain the motion: in {where} they have no more effect than "
            "the actions of other sequences. Look whether they belong to these frames; a model "
            "conditioned on them will not follow them.",
        )


def _shift(link: Link) -> Iterator[Finding]:
    """Rows that go with another change for certain: the plausible one that is nearest."""
    if 0 in link.plausible:
        return
    lag = min(link.plausible, key=lambda one: (abs(one), -link.r2[link.lags.index(one)]))
    zero, reached = (link.r2[link.lags.index(one)] for one in (0, lag))
    which = change(lag)
    if len(link.plausible) > 1:
        further = " or ".join(change(one) for one in link.plausible if one != lag)
        which += f", or as well with that from {further},"
    text = (
        f"action[t] goes with the change from {which} (R2 {reached:.2f}, for t to t+1 {zero:.2f}): "
    )
    if lag < 0:
        text += f"the rows come {_ROWS[-lag]} late. "
    else:
        text += f"the rows come {_ROWS[lag]} early, or the robot answers late. "
    text += f"Shift them: foreframe import ... --shift-actions {-lag}"
    yield Finding("warning", "", text + ".")


def _states(columns: tuple[int, ...]) -> Finding:
    plural = len(columns) > 1
    return Finding(
        "warning",
        "",
        f"column{'s' * plural} {some([str(k) for k in columns], 8)} of the actions "
        f"{'say' if plural else 'says'} where the robot is and not where it is to go: "
        f"{'states' if plural else 'a state'} among the commands, which would tell a model the "
        f"future. Leave {'them' if plural else 'it'} out of the actions on import.",
    )


def _others(others: Others) -> Finding:
    apart = others.lag - others.usual
    word = "late" if apart < 0 else "early"
    return Finding(
        "warning",
        "",
        f"{len(others.sequences):,} of {others.of:,} sequences have their actions "
        f"{_ROWS.get(abs(apart), f'{abs(apart)} rows')} too {word}, compared with the rest "
        f"({some(others.sequences)}): import them apart with --shift-actions {-others.lag}, "
        f"and the rest with --shift-actions {-others.usual}.",
        others.sequences,
    )


def _disagreement(positions: Link, images: Link, camera: Link) -> Finding:
    gap = camera.best
    word = "behind" if gap > 0 else "ahead of"
    text = (
        f"the images are {_frames(abs(gap))} {word} the positions: action[t] goes with the "
        f"change of position from {change(positions.best)}, and with the motion in the images "
        f"from {change(images.best)}. "
    )
    text += (
        "A camera that is late? A model sees the images: "
        f"--shift-actions {-images.best} lines the actions up with them."
        if images.best
        else "Models that are fed positions are told the wrong ones."
    )
    return Finding("warning", "", text)


def _frames(count: int) -> str:
    return {1: "one frame"}.get(count, f"{count} frames")
