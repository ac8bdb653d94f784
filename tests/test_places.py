"""The model with places: the same futures however it is called, and who may influence whom."""

import copy
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from foreframe import Clip, ForeframeError, ModelConfig, VideoCVAE
from foreframe.config.recipes import recipe
from foreframe.model.nets.recurrent import Gaussian
from foreframe.model.places import cvae
from foreframe.model.places.cvae import PlacesCVAE
from foreframe.training.options import TrainOptions
from foreframe.training.start import start

SMALL = {"net": "places64", "width": 0.25, "g_dim": 16, "z_dim": 64, "rnn_size": 8}


def make_model(**settings) -> VideoCVAE:
    """Small, and turned up so that what actions and z do is plain to see."""
    torch.manual_seed(3)
    model = VideoCVAE(ModelConfig(**{**SMALL, **settings})).eval()
    with torch.no_grad():
        model.world.out.weight.mul_(20)
        model.world.z_in.weight.mul_(10)
        model.world.pieces.linear.weight.normal_(0, 0.05)
    return model


@pytest.fixture(scope="module")
def model() -> VideoCVAE:
    return make_model()


def clip(batch=2, frames=7, seed=0) -> Clip:
    draw = torch.Generator().manual_seed(seed)
    return Clip(
        torch.rand(batch, frames, 3, 64, 64, generator=draw),
        torch.randn(batch, frames, 4, generator=draw),
        torch.randn(batch, frames, 3, generator=draw),
    )


NOISE = torch.randn(2, 3, 6, 64, generator=torch.Generator().manual_seed(1))


def generate(model, given, noise=NOISE, **more):
    return model.generate(
        given.frames[:, :2], given.actions, n_samples=noise.shape[1], noise=noise, **more
    )


def begun(model, given, noise=NOISE):
    return model.begin(
        given.frames[:, :2], given.actions, n_samples=noise.shape[1], noise=noise[:, :, :1]
    )


def test_the_net_names_the_kind_of_model(model, tmp_path):
    assert isinstance(model, VideoCVAE)
    assert isinstance(model, PlacesCVAE)
    assert not isinstance(VideoCVAE(ModelConfig("dcgan64", width=0.03)), PlacesCVAE)
    model.save_pretrained(tmp_path)
    back = VideoCVAE.from_pretrained(tmp_path)
    given = clip()
    torch.testing.assert_close(generate(back, given), generate(model, given), atol=0, rtol=0)
    twin = copy.deepcopy(model)
    torch.testing.assert_close(generate(twin, given), generate(model, given), atol=0, rtol=0)


def test_stepping_gives_the_frames_of_the_whole(model):
    given = clip()
    whole = generate(model, given)
    now = begun(model, given)
    for t in range(5):
        frames, now = model.step(now, given.actions[:, 1 + t])
        torch.testing.assert_close(frames, whole[:, :, t], atol=1e-5, rtol=0)
    assert (whole[:, :, 0] - whole[:, :, 4]).abs().max() > 0.01


def test_frames_drawn_in_portions_are_those_drawn_at_once(model, monkeypatch):
    whole = generate(model, clip())
    monkeypatch.setattr(cvae, "AT_ONCE", 1)
    torch.testing.assert_close(generate(model, clip()), whole, atol=1e-5, rtol=0)


def test_samples_are_those_imagined_alone(model):
    given = clip()
    together = generate(model, given)
    for k in range(3):
        alone = generate(model, given, NOISE[:, k : k + 1])
        torch.testing.assert_close(together[:, k], alone[:, 0], atol=1e-5, rtol=0)
    assert (together[:, 0] - together[:, 1]).abs().max() > 1e-3


def test_joined_sessions_are_those_stepped_apart(model):
    parts = [begun(model, clip(batch=n, seed=n), NOISE[:n]) for n in (1, 2)]
    actions = [torch.randn(n, 4, generator=torch.Generator().manual_seed(n)) for n in (1, 2)]
    apart = [model.step(part, action) for part, action in zip(parts, actions, strict=True)]
    frames, joined = model.step(parts[0].join(parts), torch.cat(actions))
    assert joined.batch == 3
    for own, (alone, after), rows in zip(
        joined.split(parts), apart, (slice(0, 1), slice(1, 3)), strict=True
    ):
        torch.testing.assert_close(frames[rows], alone, atol=1e-5, rtol=0)
        again, _ = model.step(own, actions[len(alone) - 1])
        expected, _ = model.step(after, actions[len(alone) - 1])
        torch.testing.assert_close(again, expected, atol=1e-5, rtol=0)


def test_one_can_go_back_and_act_otherwise(model):
    given = clip()
    now = begun(model, given)
    once, _ = model.step(now, given.actions[:, 1])
    other, _ = model.step(now, -given.actions[:, 1])
    again, _ = model.step(now, given.actions[:, 1])
    torch.testing.assert_close(once, again, atol=0, rtol=0)
    assert (once - other).abs().max() > 1e-3


def test_a_frame_hears_the_actions_before_it_and_none_after(model):
    given = clip()
    frames = generate(model, given)
    for t in range(6):
        actions = given.actions.clone()
        actions[:, t] += 2
        other = generate(model, replace(given, actions=actions))
        change = (other - frames).abs().amax((0, 1, 3, 4, 5))
        # Row t acts between the frames t and t + 1; the first future frame is number 2.
        first = max(t + 1 - 2, 0)
        assert (change[:first] == 0).all()
        assert (change[first:] > 1e-6).all()


def test_the_posterior_sees_the_future_and_the_prior_does_not(model):
    given, noise = clip(), torch.zeros(6, 2, 64)
    x, condition = given.frames.transpose(0, 1), model.condition(given.actions, None, 7)
    with torch.no_grad():
        before = model.rollout(x, condition, noise, n_past=2)
        changed = x.clone()
        changed[4] = 1 - changed[4]
        after = model.rollout(changed, condition, noise, n_past=2)
    assert (after.q.mu - before.q.mu).abs().max() > 1e-4
    assert torch.equal(after.p.mu, before.p.mu)
    assert before.x_pred.shape == (6, 2, 3, 64, 64)
    assert torch.equal(before.x_pred[0], x[1])


def test_the_objective_is_the_bound_with_the_best_variance(model, monkeypatch):
    monkeypatch.setattr(cvae, "DECODED", 5)
    given = clip()
    noise = torch.randn(6, 2, 64, generator=torch.Generator().manual_seed(2))
    x, condition = given.frames.transpose(0, 1), model.condition(given.actions, None, 7)
    with torch.no_grad():
        loss, logs = model(replace(given, positions=None), noise, beta=0.5, n_past=2)
        taught, _ = model(given, noise, beta=0.5, n_past=2)
        made = model.rollout(x, condition, noise, n_past=2)
    mse = (made.x_pred[1:] - x[2:]).square().mean((2, 3, 4))
    kld = Gaussian(made.q.mu[0], made.q.logvar[0]).kl(Gaussian(made.p.mu[0], made.p.logvar[0]))
    expected = (mse + 1e-5).log().mean() + 0.5 * 2 * kld.mean() / (5 * 3 * 64 * 64)
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    assert logs["kld"].item() == pytest.approx(kld.mean().item() / 7, rel=1e-4)
    assert taught > loss + 0.1


def test_the_arm_begins_where_the_recorded_actions_lead():
    model = make_model()
    model.standardise_condition(
        (torch.zeros(4), torch.full((4,), 2.0)), (torch.zeros(3), torch.full((3,), 0.5))
    )
    matrix = torch.cat([torch.eye(3), torch.eye(4, 3) * 0.25, torch.zeros(1, 3)])
    model.teach_kinematics(matrix.double())
    weight = model.world.arm.integrate.weight
    # An action of one deviation moves by 0.25 * 2 metres, one deviation of 0.5 metres.
    torch.testing.assert_close(weight[:3].detach(), torch.eye(3, 4))


def test_the_arm_can_be_taught_alone():
    """No frame is drawn, so that nothing but the arm, and what it sees by, gets a gradient."""
    model = make_model().train()
    loss, logs = model(clip(), torch.randn(6, 2, 64), beta=1.0, n_past=2, arm_alone=True)
    loss.backward()
    assert model.world.arm.gru.weight_hh_l0.grad.abs().sum() > 0
    assert model.world.encoder.coarse.weight.grad.abs().sum() > 0
    assert model.world.out.weight.grad is None
    still = (clip().frames[:, 2:] - clip().frames[:, 1:2]).square().mean()
    assert logs["mse"].item() == pytest.approx(still.item() * 6 / 7, rel=1e-5)


def test_what_makes_no_sense_is_refused(model):
    given = clip()
    for settings, message in (
        ({"condition": "none"}, "places64: is driven by actions"),
        ({"z_dim": 65}, "--z-dim 65: .* multiple of 64"),
    ):
        with pytest.raises(ForeframeError, match=message):
            VideoCVAE(ModelConfig(**{**SMALL, **settings}))
    with pytest.raises(ForeframeError, match="1 given frames: places64 needs 2"):
        model.generate(given.frames[:, :1], given.actions)
    now = begun(model, given)
    with pytest.raises(ForeframeError, match="one latent for the whole episode"):
        model.step(now, given.actions[:, 1], z=torch.zeros(2, 3, 64))


def tiny(**train):
    config = recipe("foreframe-m")
    return replace(
        config,
        model=replace(config.model, width=0.25, g_dim=16, z_dim=64, rnn_size=8),
        train=replace(
            config.train,
            **{"epochs": 3, "steps_per_epoch": 4, "batch_size": 2, "n_future": 4, **train},
            arm_epochs=1,
        ),
    )


def test_a_resumed_training_is_bit_identical(toy_data, tmp_path, in_two_goes):
    config = tiny(precision="fp32")
    in_two_goes(config, toy_data)
    rows = json.loads((tmp_path / "twice" / "history.json").read_text())
    assert len(rows) == 3


def test_it_learns_where_actions_take_a_square(toy_data, tmp_path):
    config = tiny(epochs=5, steps_per_epoch=40)
    training = start(config, toy_data, tmp_path / "run", TrainOptions(device="cpu"))
    history = training.fit()
    store = training.splits["validate"]
    recordings = [store[k] for k in range(len(store))]
    past = torch.stack([torch.tensor(r.frames[:2]) for r in recordings]).movedim(-1, 2)
    truth = torch.stack([torch.tensor(r.frames[2:6]) for r in recordings]).movedim(-1, 2) / 255
    still = (past[:, 1:] / 255 - truth).square().mean()
    assert history[-1]["mse"] < 0.6 * still


def test_several_processes_teach_the_arm_alone_too(tmp_path):
    """The rest of the model gets no gradient then, which must not stop the processes."""
    store = Path(__file__).parent / "data" / "v0.1" / "store"
    command = (
        f"{sys.executable} -m torch.distributed.run --standalone --nproc-per-node 2 -m foreframe "
        f"train foreframe-m --data {store} --out {tmp_path / 'run'} --width 0.25 --g-dim 16 "
        "--z-dim 64 --rnn-size 8 --epochs 2 --arm-epochs 1 --steps-per-epoch 2 --batch-size 4 "
        "--n-future 3 --device cpu"
    )
    done = subprocess.run(command.split(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert len(json.loads((tmp_path / "run" / "history.json").read_text())) == 2
