"""Protocols on models whose scores are known: a copier, an oracle, a deaf one, a gambler."""

import json
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch

from foreframe import ForeframeError, ModelConfig
from foreframe.data.lab import write_sequence
from foreframe.data.store.opened import open_split
from foreframe.evaluation.card import Card
from foreframe.evaluation.compare import Comparison, compare
from foreframe.evaluation.options import EvaluateOptions, ProtocolName
from foreframe.evaluation.protocols import PROTOCOLS, protocol_of
from foreframe.evaluation.score import score_rows
from foreframe.evaluation.summary import best_of, make_card, summarise
from foreframe.evaluation.words import comparison_markdown, markdown
from foreframe.metrics import METRICS

CONFIG = ModelConfig(condition="actions", action_dim=2, z_dim=2)
N, T = 4, 30


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Brightness is the running sum of the first action: whoever listens can know it."""
    root = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for k in range(N):
        actions = random.uniform(-6, 6, (T, 2)).astype(np.float32)
        level = 120 + np.concatenate([[0], np.cumsum(actions[:-1, 0])]) + 5 * k
        texture = random.integers(0, 40, (64, 64, 3))
        frames = np.clip(level[:, None, None, None] + texture, 0, 255).astype(np.uint8)
        write_sequence(root / "test" / "s" / str(k), frames, actions, np.zeros((T, 3)))
    return open_split(root, "test", log=lambda text: None)


class Wrapped:
    """A model of the outside: yields what ``imagine`` makes of a batch, [B, K, T, 3, H, W]."""

    def futures(self, past, actions, positions, *, noise, n_future, at_once=None, recorded=None):
        made = self.imagine(past, actions, noise, n_future, recorded)
        samples = noise.shape[1]
        for start in range(0, samples, at_once or samples):
            group = slice(start, min(start + (at_once or samples), samples))
            for t in range(n_future):
                yield group, t, made[:, group, t]


class Copier(Wrapped):
    def imagine(self, past, actions, noise, n_future, recorded):
        last = past[:, None, -1:].expand(-1, noise.shape[1], n_future, -1, -1, -1)
        return last.clone()


class Oracle(Wrapped):
    """Knows the recordings, and says them where it is told their own actions."""

    def __init__(self, store):
        self.store = store

    def imagine(self, past, actions, noise, n_future, recorded):
        made = []
        for given in past:
            known = (k for k in range(len(self.store)) if same(self.store[k].frames[0], given[0]))
            frames = self.store[next(known)].frames[len(given) : len(given) + n_future]
            made.append(torch.from_numpy(np.array(frames)).permute(0, 3, 1, 2).float() / 255)
        return torch.stack(made)[:, None].expand(-1, noise.shape[1], -1, -1, -1, -1)


def same(frame, given):
    return np.array_equal(frame, (given * 255).round().byte().permute(1, 2, 0).numpy())


class Gambler(Copier):
    """Samples whose error grows with |z|; the posterior's (recorded given) has none of it."""

    def imagine(self, past, actions, noise, n_future, recorded):
        if recorded is not None:
            return recorded[:, None].expand(-1, noise.shape[1], -1, -1, -1, -1)
        size = noise[:, :, 0, 0].abs()[:, :, None, None, None, None]
        return super().imagine(past, actions, noise, n_future, None) + 0.05 * size


class Deaf(Copier):
    def imagine(self, past, actions, noise, n_future, recorded):
        return super().imagine(past, actions, noise, n_future, None) * 0.9


class Listener(Copier):
    """Adds up the actions, as the brightness does."""

    def imagine(self, past, actions, noise, n_future, recorded):
        copied = super().imagine(past, actions, noise, n_future, None)
        n_past = past.shape[1]
        change = actions[:, n_past - 1 : n_past + n_future - 1, 0].cumsum(1) / 255
        return copied + change[:, None, :, None, None, None]


class Tinted(Copier):
    """Errs more in red."""

    def imagine(self, past, actions, noise, n_future, recorded):
        copied = super().imagine(past, actions, noise, n_future, None)
        copied[:, :, :, 0] += 0.1
        return copied


def card_of(model, store, protocol, config=CONFIG, batch_size=2):
    metrics = [METRICS[name] for name in protocol.metrics]
    collected = score_rows(
        model,
        config,
        store,
        protocol,
        metrics,
        sequences=N,
        batch_size=batch_size,
        keep=2,
        device=torch.device("cpu"),
    )
    return make_card(
        collected.rows,
        metrics,
        protocol,
        config,
        sequences=N,
        hashes={"weights": "w" * 64, "data": "d" * 64, "code": "c" * 64},
        run=type(model).__name__,
        data="data",
        command="foreframe evaluate ...",
    )


def protocol_named(name, **settings):
    return protocol_of(EvaluateOptions(protocol=name, **settings))


def few(name, samples=None):
    """A protocol with few samples, where it has many."""
    many = PROTOCOLS[name].samples > 1
    return protocol_named(name, samples=(samples or 6) if many else None)


def rows_of(card):
    return {row.name: row for row in card.rows}


every_protocol = pytest.mark.parametrize("name", PROTOCOLS)


@every_protocol
def test_a_copier_scores_what_copying_scores(store, name):
    rows = rows_of(card_of(Copier(), store, few(name)))
    for other in ("posterior", "permuted", "zeroed", "opposed"):
        assert rows[other].psnr == rows["model"].psnr
    for metric, score in rows["model"].scores.items():
        copied = rows["copy-last"].scores[metric]
        assert score.per_sequence == copied.per_sequence
        assert score.per_step == copied.per_step
        if score.worst is not None:
            assert score.worst == score.value == pytest.approx(score.mean)


@every_protocol
def test_the_truth_scores_what_is_perfect(store, name):
    for metric in rows_of(card_of(Oracle(store), store, few(name)))["model"].scores.items():
        expected = 100.0 if metric[0].startswith("psnr") else 1.0
        assert metric[1].value == pytest.approx(expected, abs=1e-3)
        assert metric[1].interval == pytest.approx([expected, expected], abs=1e-3)
        assert metric[1].per_step == pytest.approx([expected] * PROTOCOLS[name].n_future, 1e-3)


def test_who_ignores_actions_loses_nothing_without_them_and_who_listens_does(store):
    deaf = rows_of(card_of(Deaf(), store, few("lab")))
    for other in ("permuted", "zeroed", "opposed"):
        assert deaf[other].scores["psnr"] == deaf["model"].scores["psnr"]
    hears = rows_of(card_of(Listener(), store, few("lab")))
    for other in ("permuted", "zeroed", "opposed"):
        assert hears[other].psnr < hears["model"].psnr - 1
    # Told zeros, it stands still; mirrored actions are worse than none.
    assert hears["zeroed"].psnr == pytest.approx(hears["copy-last"].psnr, abs=1e-3)
    assert hears["opposed"].psnr < hears["zeroed"].psnr


def test_best_mean_and_worst_of_samples_are_apart_and_the_posterior_is_the_ceiling(store):
    protocol = protocol_named("srvp", samples=20)
    rows = rows_of(card_of(Gambler(), store, protocol))
    score = rows["model"].scores["psnr-frame"]
    assert score.worst < score.mean - 0.1 < score.value - 0.2
    assert score.best_of[0] == (1.0, pytest.approx(score.mean))
    assert score.best_of[-1] == (20.0, pytest.approx(score.value))
    curve = [value for _, value in score.best_of]
    assert curve == sorted(curve)
    assert rows["posterior"].psnr == pytest.approx(100)


def test_the_sample_is_chosen_by_the_protocols_metric(store):
    """By SSIM it is another sample than by PSNR, where the two disagree."""
    random = np.random.default_rng(0)
    values = {name: random.uniform(0, 1, (5, 8, 4)) for name in ("psnr", "ssim-svg", "ssim")}
    protocol = replace(PROTOCOLS["svg"], samples=8)
    metrics = [METRICS[name] for name in protocol.metrics]
    found = summarise(values, metrics, protocol)
    chosen = values["ssim-svg"].mean(2).argmax(1)
    expected = values["psnr"].mean(2)[np.arange(5), chosen]
    assert found["psnr"].per_sequence == pytest.approx(expected)
    each = summarise(values, metrics, replace(protocol, select="each"))
    assert each["psnr"].per_sequence == pytest.approx(values["psnr"].mean(2).max(1))
    assert each["psnr"].value > found["psnr"].value
    first = summarise(values, metrics, replace(protocol, select="first"))
    assert first["psnr"].per_sequence == pytest.approx(values["psnr"].mean(2)[:, 0])


def test_the_best_of_n_is_the_mean_over_all_subsets():
    from itertools import combinations

    random = np.random.default_rng(0)
    values, goodness = random.normal(size=(3, 6)), random.normal(size=(3, 6))
    for n, found in best_of(values, goodness):
        subsets = [list(s) for s in combinations(range(6), int(n))]
        by_hand = [
            values[k, s][goodness[k, s].argmax()] for k in range(3) for s in map(np.array, subsets)
        ]
        assert found == pytest.approx(np.mean(by_hand))


def test_given_frames_count_where_the_protocol_counts_them(store):
    protocol = few("ivideogpt")
    score = rows_of(card_of(Copier(), store, protocol))["copy-last"].scores["psnr-frame"]
    alone = score.without_context
    assert alone == pytest.approx(np.mean(score.per_step))
    assert score.value == pytest.approx((100 + 15 * alone) / 16)


def test_the_protocols_differ_on_the_same_frames(store):
    values = {}
    for name in PROTOCOLS:
        card = card_of(Tinted(), store, replace(few(name), n_past=2, n_future=10))
        row = rows_of(card)["model"]
        values[name] = (round(row.psnr, 3), row.ssim)
    assert len({psnr for psnr, _ in values.values()}) == 4  # lab and svg share theirs
    assert values["lab"][0] == values["svg"][0]
    assert values["svg"][1] > values["lab"][1]  # the data range of 2 inflates


def test_neither_the_batch_nor_other_samples_change_a_score(store):
    protocol = protocol_named("srvp", samples=5)
    one, four = (card_of(Gambler(), store, protocol, batch_size=b) for b in (1, 4))
    a, b = (rows_of(card)["model"].scores["ssim"].per_sequence for card in (one, four))
    assert a == pytest.approx(b, abs=1e-6)
    more = card_of(Gambler(), store, protocol_named("srvp", samples=9))
    assert rows_of(more)["model"].psnr >= rows_of(one)["model"].psnr


def test_a_comparison_tells_what_is_real(store):
    cards = [card_of(model, store, few("lab")) for model in (Copier(), Listener(), Copier())]
    found = compare(cards)
    verdicts = {(one.metric, one.a, one.b): one.separable for one in found.differences}
    assert verdicts["psnr", "Copier", "Listener"]
    assert not verdicts["psnr", "Copier", "Copier"]
    text = comparison_markdown(found)
    assert "| real |" in text
    assert "| not separable |" in text
    other = card_of(Copier(), store, few("mcvd"))
    with pytest.raises(ForeframeError, match=r"n_future.*metrics.*same protocol"):
        compare([cards[0], other])


def test_what_older_versions_said_is_read_and_compared_only_where_it_may_be(store):
    card = card_of(Listener(), store, few("lab"))
    second = {**card.to_json(), "card": 2}
    del second["protocol"]["mirrored_about"]
    old = Card.from_json(second, "old.json")
    assert old.protocol.mirrored_about is None
    assert not any(one.separable for one in compare([old, card]).differences)
    comparison = compare([card, card])
    values = json.loads(json.dumps(comparison.to_json()))
    assert Comparison.from_json(values, "comparison.json") == comparison
    row = {"name": "model", "label": "foreframe", "psnr": 20.0, "ssim": 0.9}
    first = Card.from_json({"protocol": {"name": "lab"}, "rows": [row]}, "oldest.json")
    assert first.row("model").psnr == 20.0
    with pytest.raises(ForeframeError, match="no scores of single sequences"):
        compare([first, first])
    with pytest.raises(ForeframeError, match=r"oldest.json: is not an evaluation .*much"):
        Card.from_json({"protocol": {}, "rows": [{**row, "psnr": "much"}]}, "oldest.json")


def test_the_options_name_every_protocol():
    assert get_args(ProtocolName) == tuple(PROTOCOLS)


@every_protocol
def test_the_card_says_how(store, name):
    card = card_of(Gambler(), store, few(name))
    json.dumps(card.to_json(), allow_nan=False)
    text = markdown(card)
    protocol = card.protocol
    for metric in protocol.metrics.values():
        assert metric.definition in text
    for doubt in protocol.doubts:
        assert doubt in text
    assert f"{protocol.n_past} given, {protocol.n_future} predicted" in text
    assert ("samples 6 instead of 100" in text) == (PROTOCOLS[name].samples > 1)
    assert all(row.label in text for row in card.rows)


def test_a_protocol_with_other_numbers_says_so_and_nonsense_is_refused():
    assert protocol_named("lab").changed == ()
    assert protocol_named("lab", n_future=10).changed == ()
    assert protocol_named("lab", n_future=8).changed == ("n-future 8 instead of 10",)
    with pytest.raises(ForeframeError, match="known protocols: lab, svg"):
        protocol_named("fvd")
    with pytest.raises(ForeframeError, match="--samples 0"):
        protocol_named("svg", samples=0)


def test_the_interval_is_over_recordings_where_sequences_are_their_clips():
    each = np.repeat(np.linspace(0.001, 0.1, 4), 5)[:, None, None]
    values = {"psnr": each * np.ones((1, 1, 3))}
    alone, of_clips = (
        summarise(values, [METRICS["psnr"]], few("lab"), groups)["psnr"]
        for groups in (None, np.repeat(np.arange(4), 5).tolist())
    )
    assert of_clips.value == alone.value
    width = [high - low for low, high in (alone.interval, of_clips.interval)]
    assert width[1] > 1.7 * width[0]
