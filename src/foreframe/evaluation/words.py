"""Result cards and comparisons in words: Markdown, and the lines that tables share."""

from collections.abc import Iterator

from foreframe.evaluation.card import Card, CardProtocol, MetricNote, Score
from foreframe.evaluation.compare import Comparison


def select_words(protocol: CardProtocol) -> str:
    """Which sample counts: "1 prior sample", "best of 100 prior samples by SSIM (SVG's)"."""
    samples, select = protocol.samples, protocol.select
    if samples == 1:
        return "1 prior sample"
    if select == "first":
        return f"the first of {samples} prior samples"
    by = "each metric by itself" if select == "each" else protocol.metrics[select].label
    return f"best of {samples} prior samples by {by}"


def protocol_words(protocol: CardProtocol) -> str:
    """The protocol in a line."""
    words = (
        f"{protocol.n_past} given, {protocol.n_future} predicted frames, "
        f"{protocol.split} sequences: {protocol.sequences}, {select_words(protocol)}"
    )
    return words + (", given frames counted" if protocol.counts_context else "")


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]


def markdown(card: Card) -> str:
    """The card for a reader."""
    return "\n".join(_card_lines(card)) + "\n"


def _card_lines(card: Card) -> Iterator[str]:
    protocol = card.protocol
    yield f"# {card.run}: protocol {protocol.name}"
    yield ""
    yield _capital(protocol_words(protocol)) + "."
    if card.is_partial:
        yield "A part of the split only: these are not the scores of the run."
    if protocol.changed:
        yield f"Not the protocol as it is named: {'; '.join(protocol.changed)}."
    yield ""
    yield from _rows_table(card)
    yield ""
    which = "normal approximation" if protocol.interval == "normal" else "bootstrap"
    if card.recordings is not None and which == "bootstrap":
        which += f" over the {len(set(card.recordings))} recordings that they are of"
    yield f"In brackets: 95 % interval of the mean over sequences ({which})."
    yield ""
    yield from _samples_table(card)
    yield from _definitions(card)
    yield ""
    yield f"Data: `{card.data}`. Command: `{card.command or 'not recorded'}`."
    yield ""
    yield f"foreframe {card.foreframe}, PyTorch {card.torch}. SHA-256:"
    yield ", ".join(f"{name} `{value[:16]}`" for name, value in card.hashes.items()) + "."


def _with_fvd(card: Card) -> bool:
    return any(row.fvd is not None for row in card.rows)


def _rows_table(card: Card) -> Iterator[str]:
    metrics = card.protocol.metrics
    heads = [m.label + (f" ({m.unit})" if m.unit else "") for m in metrics.values()]
    heads += ["FVD"] if _with_fvd(card) else []
    yield f"| prediction | condition | {' | '.join(heads)} |"
    yield f"| --- | --- |{' ---: |' * len(heads)}"
    for row in card.rows:
        cells = [_cell(row.scores[name], m) if row.scores else "n/a" for name, m in metrics.items()]
        if _with_fvd(card):
            cells.append("n/a" if row.fvd is None else f"{row.fvd:.1f}")
        yield f"| {row.label} | {row.condition} | {' | '.join(cells)} |"


def _definitions(card: Card) -> Iterator[str]:
    protocol = card.protocol
    for name, m in protocol.metrics.items():
        yield f"- **{m.label}** (`{name}`): {m.definition}."
    if _with_fvd(card):
        frames = "given frames included" if protocol.counts_context else "predicted frames"
        yield (
            "- **FVD**: squared Fréchet distance between the features of all true and all "
            f"predicted videos, by the extractor that the command names, {frames}."
        )
    if protocol.published:
        yield f"- Published: {protocol.published}."
    for doubt in protocol.doubts:
        yield f"- Mind: {doubt}"


def interval_words(value: float, interval: tuple[float, float], digits: int) -> str:
    """A number with its interval: "24.50 [24.10, 24.90]"."""
    low, high = interval
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _cell(score: Score, metric: MetricNote) -> str:
    text = interval_words(score.value, score.interval, metric.digits)
    if score.without_context is not None:
        text += f"; {score.without_context:.{metric.digits}f} without given frames"
    return text


def _samples_table(card: Card) -> Iterator[str]:
    """Best, mean and worst sample of the model, and the best of fewer samples."""
    scores = {k: v for k, v in card.rows[0].scores.items() if v.best_of is not None}
    if not scores:
        return
    counts = [int(n) for n, _ in next(iter(scores.values())).best_of or ()]
    heads = ["mean", "worst", *(f"best of {n}" for n in counts)]
    yield f"| foreframe | {' | '.join(heads)} |"
    yield f"| --- |{' ---: |' * len(heads)}"
    for name, score in scores.items():
        metric = card.protocol.metrics[name]
        values = [score.mean, score.worst, *(value for _, value in score.best_of or ())]
        cells = " | ".join(f"{value:.{metric.digits}f}" for value in values)
        yield f"| {metric.label} | {cells} |"
    yield ""


def comparison_markdown(comparison: Comparison) -> str:
    """The comparison for a reader."""
    return "\n".join(_comparison_lines(comparison)) + "\n"


def _comparison_lines(comparison: Comparison) -> Iterator[str]:
    protocol, metrics = comparison.protocol, comparison.protocol.metrics
    yield f"# {len(comparison.runs)} runs, protocol {protocol.name}"
    yield ""
    yield f"{_capital(protocol_words(protocol))}; data `{comparison.data}`."
    yield ""
    yield f"| run | condition | {' | '.join(m.label for m in metrics.values())} |"
    yield f"| --- | --- |{' ---: |' * len(metrics)}"
    for run in comparison.runs:
        cells = [
            interval_words(run.scores[name].value, run.scores[name].interval, m.digits)
            for name, m in metrics.items()
        ]
        yield f"| {run.run} | {run.condition} | {' | '.join(cells)} |"
    yield ""
    yield "| metric | difference | mean | 95 % interval | |"
    yield "| --- | --- | ---: | ---: | --- |"
    for cells in comparison.table():
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield (
        "Paired over the same sequences (bootstrap). Real: the interval excludes zero, for these "
        "weights; another seed of a training may differ more."
    )
