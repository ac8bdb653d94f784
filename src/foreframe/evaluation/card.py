"""The result card: what was measured, how, on what, by which command."""

from dataclasses import dataclass, field, fields

from foreframe.config.results import Interval, Result
from foreframe.runs.folder import has_limit

CARD = 3
"""Version of the card.

1: the PSNR and SSIM of three rows alone. 2: any metrics, intervals, six rows. 3: the opposed
condition is mirrored about the training split's mean, no longer about the scored split's; all other
rows have the numbers of version 2.
"""


@dataclass(frozen=True)
class MetricNote:
    """A metric in words; see ``foreframe.metrics.Metric``."""

    label: str
    unit: str
    definition: str
    digits: int
    higher_is_better: bool


@dataclass(frozen=True, kw_only=True)
class CardProtocol:
    """How the rows were scored: the fields of ``Protocol``, and what the run and the data add.

    What a card of version 1 does not say has the value that was in force then.

    Attributes:
        metrics: by name, in the order of the tables.
        condition: what the model is conditioned on.
        sequences: that were scored.
        needs_condition: the condition that the protocol demands of a model, if any.
        timing: of the condition, "source" or "target".
        mirrored_about: split whose mean the opposed condition is mirrored about.
        psnr: definition of the first PSNR, the headline.
        ssim: definition of the first SSIM.
    """

    name: str = "unknown"
    n_past: int = 0
    n_future: int = 0
    samples: int = 1
    metrics: dict[str, MetricNote] = field(default_factory=dict)
    select: str = "first"
    counts_context: bool = False
    condition: str = "unknown"
    interval: str = "bootstrap"
    split: str = "unknown"
    seed: int = 0
    published: str = ""
    doubts: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    sequences: int = 0
    needs_condition: str | None = None
    timing: str = "unknown"
    mirrored_about: str | None = None
    psnr: str = "unknown"
    ssim: str = "unknown"


@dataclass(frozen=True, kw_only=True)
class Score:
    """One metric of one row.

    Attributes:
        value: mean over the sequences.
        interval: 95 % of it.
        per_step: of each predicted frame.
        per_sequence: of each sequence.
        without_context: value over the predicted frames alone, where the given ones count.
        mean: over all samples, where there are several; likewise the rest.
        mean_per_step: its curve.
        worst: of the worst sample of each sequence.
        worst_per_step: its curve.
        best_of: pairs [n, expected value of the best of n samples].
    """

    value: float
    interval: Interval
    per_step: list[float]
    per_sequence: list[float]
    without_context: float | None = None
    mean: float | None = None
    mean_per_step: list[float] | None = None
    worst: float | None = None
    worst_per_step: list[float] | None = None
    best_of: list[tuple[float, float]] | None = None


_OPTIONAL_SCORES = tuple(item.name for item in fields(Score) if item.default is None)


@dataclass(frozen=True, kw_only=True)
class Row:
    """The model or one of its baselines.

    Attributes:
        name: one of ``score.ROWS``.
        label: for tables.
        condition: what the model was told.
        psnr: the headline PSNR in dB; None for a row that makes no sense for the model.
        psnr_per_step: its curve.
        ssim: the headline SSIM, likewise.
        ssim_per_step: its curve.
        scores: every metric by its name; none in cards of version 1.
        fvd: of all samples, where an extractor was given.
        why_none: why the row has no scores.
    """

    name: str
    label: str
    condition: str = ""
    psnr: float | None = None
    psnr_per_step: list[float] | None = None
    ssim: float | None = None
    ssim_per_step: list[float] | None = None
    scores: dict[str, Score] = field(default_factory=dict)
    fvd: float | None = None
    why_none: str | None = None


@dataclass(frozen=True, kw_only=True)
class Card(Result):
    """The result of an evaluation.

    Attributes:
        card: version; see ``CARD``.
        protocol: how the rows were scored.
        partial: whether the split holds more sequences than were scored; None in older cards.
        run: the run folder, as it was named.
        data: root of the dataset, likewise.
        command: that was run.
        hashes: SHA-256 of the weights, of the data as scored and of the program.
        foreframe: version that scored.
        torch: version of PyTorch.
        rows: in the order of ``score.ROWS``.
        recordings: number of the recording that each sequence is a clip or a view of; None where
            each is one of its own.
    """

    WHAT = "an evaluation"
    OPTIONAL = frozenset({"scores", "fvd", "why_none", "recordings", *_OPTIONAL_SCORES})

    card: int = 1
    protocol: CardProtocol
    partial: bool | None = None
    run: str = ""
    data: str = "unknown"
    command: str = ""
    hashes: dict[str, str] = field(default_factory=dict)
    foreframe: str = "unknown"
    torch: str = "unknown"
    rows: list[Row]
    recordings: list[int] | None = None

    def row(self, name: str) -> Row | None:
        """The row of that name, if there is one."""
        return next((row for row in self.rows if row.name == name), None)

    @property
    def is_partial(self) -> bool:
        """Whether only the first sequences of the split were scored, as far as the card tells."""
        return has_limit(self.command) if self.partial is None else self.partial
