"""Stepping through an imagined future: the same frames as imagining it whole."""

import pytest
import torch

from foreframe import ModelConfig, VideoCVAE
from foreframe.errors import ForeframeError
from foreframe.model.imagination import Imagination

CASES = {
    "as svg-small": {"output": "blend"},
    "learned prior": {"prior": "learned"},
    "svg": {"skips_from": "svg", "timing": "target", "condition": "both"},
    "vgg": {"net": "vgg64", "width": 0.125},
    "unconditional": {"condition": "none"},
    "latent": {"recurrence": "latent", "prior": "learned"},
    "latent, blended": {"recurrence": "latent", "output": "blend"},
}
N_FUTURE = 4


def make_model(**changes) -> VideoCVAE:
    torch.manual_seed(3)
    config = {"net": "dcgan64", "width": 0.125, "g_dim": 16, "z_dim": 3, "rnn_size": 16, **changes}
    model = VideoCVAE(ModelConfig(**config)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # the initialisation's frames hardly differ
            parameter.mul_(3)
    return model


def given(model, batch=2, n_past=2, samples=3, seed=0):
    draw = torch.Generator().manual_seed(seed)
    config = model.config
    rows = n_past + N_FUTURE
    actions = torch.randn(batch, rows, config.action_dim, generator=draw)
    positions = torch.randn(batch, rows, config.position_dim, generator=draw)
    past = torch.rand(batch, n_past, 3, 64, 64, generator=draw)
    noise = torch.randn(batch, samples, rows - 1, config.z_dim, generator=draw)
    return past, actions, positions, noise


def begin(model, past, actions, positions, noise):
    n_past = past.shape[1]
    return model.begin(
        past, actions, positions, n_samples=noise.shape[1], noise=noise[:, :, : n_past - 1]
    )


def row(model, n_past, t):
    """The row of the condition that leads to future frame t."""
    return n_past + t - (1 if model.config.timing == "source" else 0)


def stepped(model, past, actions, positions, noise):
    n_past = past.shape[1]
    now = begin(model, past, actions, positions, noise)
    for t in range(N_FUTURE):
        at = row(model, n_past, t)
        frames, now = model.step(
            now, actions[:, at], positions[:, at], noise=noise[:, :, n_past - 1 + t]
        )
        yield frames, now


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_stepping_gives_the_frames_of_the_whole(changes):
    model = make_model(**changes)
    past, actions, positions, noise = given(model)
    whole = model.generate(past, actions, positions, noise=noise, n_samples=3, n_future=N_FUTURE)
    alone = torch.stack([frames for frames, _ in stepped(model, past, actions, positions, noise)])
    assert torch.equal(alone.permute(1, 2, 0, 3, 4, 5), whole)
    assert whole[:, :, -1].std(dim=1).max() > 1e-3, "the futures differ"


def test_a_moment_stays_as_it_is():
    """So one can go back to it: act otherwise, then as before."""
    model = make_model(output="blend")
    past, actions, positions, noise = given(model)
    _, middle = list(stepped(model, past, actions, positions, noise))[1]
    once, _ = model.step(middle, actions[:, 2], positions[:, 2], noise=noise[:, :, 3])
    other, _ = model.step(middle, -actions[:, 2], positions[:, 2], noise=noise[:, :, 3])
    again, _ = model.step(middle, actions[:, 2], positions[:, 2], noise=noise[:, :, 3])
    assert torch.equal(once, again)
    assert (once - other).abs().max() > 1e-3


def test_the_latent_itself_may_be_given():
    model = make_model(prior="fixed")
    past, actions, positions, noise = given(model)
    now = begin(model, past, actions, positions, noise)
    z = noise[:, :, 1]
    drawn, _ = model.step(now, actions[:, 1], positions[:, 1], noise=z)
    said, _ = model.step(now, actions[:, 1], positions[:, 1], z=z)
    assert torch.equal(drawn, said)  # N(0, I): noise is z
    other, _ = model.step(now, actions[:, 1], positions[:, 1], z=-z)
    assert (other - said).abs().max() > 1e-3


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
@pytest.mark.parametrize("n_past", [2, 1])
def test_joined_sessions_are_those_stepped_apart(changes, n_past):
    """Of different ages: one has just begun, the other has imagined a frame already."""
    model = make_model(**changes).double()  # these nets blow rounding up
    if n_past == 1 and model.config.skips_from == "svg":
        pytest.skip("needs two given frames")
    first, second = (
        [part.double() for part in given(model, batch=1, n_past=n_past, seed=seed)]
        for seed in (1, 2)
    )
    _, older = next(iter(stepped(model, *first)))
    parts = [older, begin(model, *second)]
    at = row(model, n_past, 1)
    inputs = [
        (given_[1][:, at], given_[2][:, at], given_[3][:, :, n_past]) for given_ in (first, second)
    ]
    apart = [
        model.step(part, action, position, noise=noise)
        for part, (action, position, noise) in zip(parts, inputs, strict=True)
    ]
    action, position, noise = (torch.cat(column) for column in zip(*inputs, strict=True))
    frames, joined = model.step(Imagination.join(parts), action, position, noise=noise)
    for i, ((expected, after), own) in enumerate(zip(apart, joined.split(parts), strict=True)):
        torch.testing.assert_close(frames[i : i + 1], expected)
        next_, _ = model.step(own, action[i : i + 1], position[i : i + 1], noise=noise[i : i + 1])
        alone, _ = model.step(after, action[i : i + 1], position[i : i + 1], noise=noise[i : i + 1])
        torch.testing.assert_close(next_, alone)
    assert (frames[0] - frames[1]).abs().max() > 1e-2


def test_stepping_leaves_the_model_as_it_was():
    model = make_model().train()
    past, actions, positions, noise = given(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert len(list(stepped(model, past, actions, positions, noise))) == N_FUTURE
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_condition_that_is_missing_is_named():
    model = make_model(condition="both")
    past, actions, positions, noise = given(model)
    with pytest.raises(ForeframeError, match="positions"):
        model.begin(past, actions, None)
    now = begin(model, past, actions, positions, noise)
    with pytest.raises(ForeframeError, match="actions: 2 numbers"):
        model.step(now, actions[:, 0, :2], positions[:, 0])
    with pytest.raises(ForeframeError, match="2 or more"):
        make_model(skips_from="svg").begin(past[:, :1], actions, positions)
