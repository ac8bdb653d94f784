"""The networks, the rollout and the objective: figures, equations and who may influence whom."""

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Normal, kl_divergence

from benchmarks.plain import PlainModel
from foreframe import Clip, ForeframeError, ModelConfig, VideoCVAE
from foreframe.config.model import frame_size
from foreframe.model.nets import conv
from foreframe.model.nets.architectures import NETS
from foreframe.model.nets.blend import DRAWN, blend
from foreframe.model.nets.conv import upsampling_kernel
from foreframe.model.nets.recurrent import LOGVAR_LIMIT, Gaussian, GaussianLSTM

SMALL = {"net": "dcgan64", "width": 0.125, "g_dim": 16, "z_dim": 4, "rnn_size": 16}


def small(seed: int = 0, **settings) -> VideoCVAE:
    torch.manual_seed(seed)
    model = VideoCVAE(ModelConfig(**{**SMALL, **settings}))
    # Fresh weights are tiny (sigma 0.02), so that conditions would hardly show: enlarge them.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
    return model


def clip(
    batch: int = 2, n_frames: int = 6, seed: int = 0, size: tuple[int, int] = (64, 64)
) -> Clip:
    generator = torch.Generator().manual_seed(seed)
    return Clip(
        torch.rand(batch, n_frames, 3, *size, generator=generator),
        torch.randn(batch, n_frames, 4, generator=generator),
        torch.randn(batch, n_frames, 3, generator=generator),
    )


def noise_for(model: VideoCVAE, batch: int = 2, n_frames: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n_frames - 1, batch, model.config.z_dim, generator=generator)


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# -- figures ------------------------------------------------------------------------------------


def test_parameter_counts_are_the_papers():
    fixed = VideoCVAE(ModelConfig(condition="both"))
    learned = VideoCVAE(ModelConfig(condition="both", prior="learned"))
    assert count(fixed.encoder) == 8_689_600
    assert count(fixed.decoder) == 11_822_659
    assert count(fixed.frame_predictor) == 1_136_768
    assert count(fixed.posterior) == 592_256
    assert count(learned.prior) == 592_256
    assert count(fixed) == 22_241_283
    assert count(learned) == 22_833_539
    unconditional = VideoCVAE(ModelConfig(condition="none"))
    assert count(unconditional.frame_predictor) == 1_134_976


@pytest.mark.parametrize(
    ("net", "size", "sizes"),
    [
        ("vgg64", 64, [64, 32, 16, 8]),
        ("dcgan64", 64, [32, 16, 8, 4]),
        ("vgg128", 128, [128, 64, 32, 16, 8]),
        ("dcgan128", 128, [64, 32, 16, 8, 4]),
        ("vgg64x128", 64, [64, 32, 16, 8]),
        ("dcgan64x128", 64, [32, 16, 8, 4]),
    ],
)
def test_encoder_and_decoder_shapes(net, size, sizes):
    wide = 2 if net.endswith("x128") else 1
    assert frame_size(net) == (size, wide * size)
    encoder, decoder = NETS[net](128, 0.125)
    h, skips = encoder(torch.rand(2, 3, size, wide * size))
    assert h.shape == (2, 128)
    assert [skip.shape[-2:] for skip in skips] == [(n, wide * n) for n in sizes]
    x = decoder(h, decoder.context(skips))
    assert x.shape == (2, 3, size, wide * size)
    assert x.min() >= 0
    assert x.max() <= 1


def test_dcgan_channels_at_full_width():
    encoder, _ = NETS["dcgan64"](128, 1.0)
    _, skips = encoder(torch.rand(2, 3, 64, 64))
    assert [skip.shape[1] for skip in skips] == [64, 128, 256, 512]


def both(**settings) -> tuple[VideoCVAE, PlainModel]:
    """A model and the straightforward program of the same weights."""
    torch.manual_seed(0)
    settings = {"width": 0.125, "g_dim": 16, "z_dim": 4, "rnn_size": 16} | settings
    model = VideoCVAE(ModelConfig(**settings))
    return model, PlainModel(model)


@pytest.mark.parametrize("teacher_forcing", [True, False])
@pytest.mark.parametrize("prior", ["fixed", "learned"])
@pytest.mark.parametrize(
    ("net", "output"),
    [*((net, "frame") for net in sorted(NETS)), ("dcgan64", "blend"), ("vgg64", "blend")],
)
@pytest.mark.parametrize("portions", ["all steps at once", "one step at a time"])
def test_loss_gradients_and_statistics_are_those_of_the_plain_program(
    net, output, prior, teacher_forcing, portions, monkeypatch
):
    """Skips convolved once, upsampling within a kernel, steps gathered: the same function.

    In float64: in float32 the gradients of the plain program itself change by a thousandth with the
    layout of its tensors, for rounding tips maxima and signs over.
    """
    if portions == "one step at a time":
        monkeypatch.setattr(conv, "_CACHE", 0)
    model, plain = both(net=net, prior=prior, output=output)
    same_function(model, plain, frame_size(net), teacher_forcing)


@pytest.mark.parametrize("prior", ["fixed", "learned"])
@pytest.mark.parametrize(("net", "output"), [("dcgan64", "frame"), ("vgg64", "blend")])
def test_in_latent_space_too_it_is_the_plain_program(net, output, prior):
    """All frames after the past decoded together, against one after another."""
    model, plain = both(net=net, prior=prior, output=output, recurrence="latent")
    same_function(model, plain, (64, 64), False)


def same_function(model, plain, size, teacher_forcing):
    model, plain = model.double(), plain.double()
    random = {"dtype": torch.float64}
    frames, actions = torch.rand(3, 6, 3, *size, **random), torch.randn(3, 6, 4, **random)
    noise = torch.randn(5, 3, 4, **random)
    options = {"beta": 0.3, "n_past": 2, "teacher_forcing": teacher_forcing}
    loss, _ = model(Clip(frames, actions, None), noise, **options)
    expected = plain.loss(frames.transpose(0, 1), actions.transpose(0, 1), noise, **options)
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=0)
    loss.backward()
    expected.backward()
    for (name, mine), other in zip(model.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-7, atol=1e-12, msg=name)
    mine = {k: v for k, v in model.named_buffers() if "condition" not in k}
    for (name, buffer), other in zip(mine.items(), plain.buffers(), strict=True):
        torch.testing.assert_close(buffer, other, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("output", ["frame", "blend"])
@pytest.mark.parametrize("net", ["vgg64", "dcgan64"])
@pytest.mark.parametrize("recurrence", ["pixels", "latent"])
def test_futures_are_those_of_the_plain_program(net, output, recurrence):
    model, plain = both(net=net, prior="learned", output=output, recurrence=recurrence)
    plain.eval()
    past, actions, noise = (
        torch.rand(3, 2, 3, 64, 64),
        torch.randn(3, 6, 4),
        torch.randn(3, 2, 5, 4),
    )
    futures = model.generate(past, actions, n_samples=2, noise=noise)
    for k in range(2):
        made = plain.sample(
            past.transpose(0, 1), actions.transpose(0, 1), noise[:, k].transpose(0, 1)
        )
        torch.testing.assert_close(futures[:, k], torch.stack(made, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("output", "recurrence"), [("frame", "pixels"), ("blend", "pixels"), ("blend", "latent")]
)
@pytest.mark.parametrize("teacher_forcing", [True, False])
def test_recomputed_activations_change_nothing_but_the_memory(teacher_forcing, output, recurrence):
    held, found = [], []
    for recompute in (False, True):
        model, _ = both(net="dcgan64", prior="learned", output=output, recurrence=recurrence)
        model.double()
        random = {"dtype": torch.float64, "generator": torch.Generator().manual_seed(1)}
        frames, actions = torch.rand(3, 6, 3, 64, 64, **random), torch.randn(3, 6, 4, **random)
        noise = torch.randn(5, 3, 4, **random)
        kept = {}

        def keep(tensor, kept=kept):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            options = {"n_past": 2, "teacher_forcing": teacher_forcing, "recompute": recompute}
            loss, _ = model(Clip(frames, actions, None), noise, beta=0.3, **options)
        held.append(sum(kept.values()))
        loss.backward()
        gradients = [parameter.grad for parameter in model.parameters()]
        found.append([loss, *gradients, *model.buffers()])
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-12)
    assert held[1] < 0.5 * held[0]


def test_futures_are_yielded_one_frame_after_another():
    """The same frames as all at once, and the model is in training mode while somebody has them."""
    model = small(prior="learned")
    batch, noise = clip(), noise_for(model).transpose(0, 1)[:, None].repeat(1, 3, 1, 1)
    whole = model.generate(batch.frames[:, :2], batch.actions, noise=noise, n_future=4)
    assert whole.shape == (2, 3, 4, 3, 64, 64)
    for at_once in (None, 2):
        made = torch.zeros_like(whole)
        futures = model.futures(
            batch.frames[:, :2], batch.actions, None, noise=noise, n_future=4, at_once=at_once
        )
        for samples, t, frames in futures:
            assert model.training
            assert not frames.requires_grad
            made[:, samples, t] = frames
        torch.testing.assert_close(made, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("teacher_forcing", [True, False])
def test_a_blend_that_copies_the_frame_before_copies_it_exactly(teacher_forcing):
    """Teacher-forced it repeats each true frame, free-running the last given one."""
    model, _ = both(net="dcgan64", output="blend")
    last = model.decoder.stages[-1].first
    with torch.no_grad():
        last.weight[:, 3:] = 0
        last.bias[3:] = torch.tensor([-1e4, 1e4, -1e4])
    x = torch.rand(6, 2, 3, 64, 64)
    found = model.rollout(
        x, torch.randn(5, 2, 4), torch.randn(5, 2, 4), n_past=2, teacher_forcing=teacher_forcing
    )
    before = x[:-1] if teacher_forcing else x[[0, 1, 1, 1, 1]]
    assert torch.equal(found.x_pred, before)
    with torch.no_grad():
        last.bias[3:] = torch.tensor([-1e4, -1e4, 1e4])  # the last given frame
    futures = model.generate(x[:3].transpose(0, 1), torch.randn(2, 6, 4), n_samples=2)
    assert torch.equal(futures, x[2][:, None, None].expand_as(futures))


def test_a_blend_lies_between_its_sources():
    torch.manual_seed(0)
    drawn = 10 * torch.randn(4, DRAWN, 8, 8)
    before, past = torch.rand(4, 3, 8, 8), torch.rand(4, 3, 8, 8)
    made = blend(drawn, before, past)
    assert made.min() >= 0
    assert made.max() <= 1
    sources = torch.stack([drawn[:, :3].sigmoid(), before, past])
    assert (made <= sources.amax(0) + 1e-6).all()
    assert (made >= sources.amin(0) - 1e-6).all()


def test_upsampling_is_within_the_kernel():
    torch.manual_seed(0)
    x, kernel = torch.randn(2, 5, 6, 7), torch.randn(4, 5, 3, 3)
    plain = F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), kernel, padding=1)
    fast = F.conv_transpose2d(x, upsampling_kernel(kernel), stride=2, padding=1)
    torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-5)


def test_initialisation_is_svgs():
    torch.manual_seed(0)
    model = VideoCVAE(ModelConfig(net="dcgan64"))
    convolution = model.encoder.stages[3][0]
    assert convolution.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert convolution.bias.abs().max().item() == 0
    norm = model.encoder.stages[3][1]
    assert norm.weight.mean().item() == pytest.approx(1.0, abs=0.005)
    assert norm.weight.std().item() == pytest.approx(0.02, rel=0.2)


# -- distributions ------------------------------------------------------------------------------


def test_kl_is_that_of_torch_distributions():
    torch.manual_seed(0)
    q, p = (Gaussian(torch.randn(5, 3, 7), torch.randn(5, 3, 7)) for _ in range(2))
    expected = kl_divergence(
        Normal(q.mu, (q.logvar / 2).exp()), Normal(p.mu, (p.logvar / 2).exp())
    ).sum(-1)
    torch.testing.assert_close(q.kl(p), expected)


def test_samples_have_the_mean_and_deviation_they_should():
    torch.manual_seed(0)
    gaussian = Gaussian(torch.full((20_000, 1), 2.0), torch.full((20_000, 1), -1.0))
    sample = gaussian.sample(torch.randn(20_000, 1))
    assert sample.mean().item() == pytest.approx(2.0, abs=0.02)
    assert sample.std().item() == pytest.approx(torch.tensor(-0.5).exp().item(), rel=0.02)


def test_logvar_cannot_overflow():
    posterior = GaussianLSTM(8, 4, 8, 1)
    with torch.no_grad():
        posterior.logvar.bias.fill_(1e4)
    gaussian, _ = posterior(torch.randn(3, 2, 8))
    assert gaussian.logvar.max() == LOGVAR_LIMIT
    zeros = torch.zeros_like(gaussian.mu)
    assert torch.isfinite(gaussian.kl(Gaussian(zeros, zeros))).all()


def test_one_call_over_a_sequence_equals_one_call_a_step():
    torch.manual_seed(0)
    posterior = GaussianLSTM(8, 4, 8, 1)
    h = torch.randn(5, 2, 8)
    whole, _ = posterior(h)
    state = None
    for t in range(5):
        step, state = posterior(h[t : t + 1], state)
        torch.testing.assert_close(step.mu[0], whole.mu[t])


def test_recurrences_and_kl_keep_full_precision_under_autocast():
    torch.manual_seed(0)
    model = small(prior="learned")
    h = torch.randn(3, 2, 16)
    for part in (model.posterior, model.prior):
        plain, _ = part(h)
        with torch.autocast("cpu", torch.bfloat16):
            cast, _ = part(h)
        assert torch.equal(plain.mu, cast.mu)
        assert torch.equal(plain.logvar, cast.logvar)
    x = torch.randn(3, 2, 16 + 4 + 4)
    plain_h, _ = model.frame_predictor(x)
    with torch.autocast("cpu", torch.bfloat16):
        cast_h, _ = model.frame_predictor(x)
    assert torch.equal(plain_h, cast_h)


# -- the objective ------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", ["fixed", "learned"])
def test_the_loss_is_facts_section_4_step_by_step(prior):
    """A plain, unoptimised retelling of one training step."""
    model = small(prior=prior, condition="both", timing="target")
    batch, noise, n_past = clip(), noise_for(model), 2
    x = batch.frames
    mse, kld, state, prior_state, posterior_state = 0.0, 0.0, None, None, None
    x_in = x[:, 0]
    for i in range(1, 6):
        h, skips_now = model.encoder(x_in)
        if i <= n_past:
            skips = skips_now
        h_target, _ = model.encoder(x[:, i])
        q, posterior_state = model.posterior(h_target[None], posterior_state)
        p, prior_state = model.prior(h[None], prior_state)
        z = q.mu[0] + noise[i - 1] * (q.logvar[0] / 2).exp()
        c = torch.cat([batch.actions[:, i], batch.positions[:, i]], -1)
        h_pred, state = model.frame_predictor(torch.cat([c, h, z], -1)[None], state)
        x_pred = model.decoder(h_pred[0], model.decoder.context(skips))
        mse = mse + ((x_pred - x[:, i]) ** 2).mean()
        kld = (
            kld
            + kl_divergence(
                Normal(q.mu[0], (q.logvar[0] / 2).exp()), Normal(p.mu[0], (p.logvar[0] / 2).exp())
            )
            .sum(-1)
            .mean()
        )
        x_in = x_pred if i >= n_past else x[:, i]
    loss, logs = model(batch, noise, beta=0.3, n_past=n_past, teacher_forcing=False)
    torch.testing.assert_close(loss, mse + 0.3 * kld, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logs["mse"], mse.detach() / 6, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(logs["kld"], kld.detach() / 6, rtol=1e-4, atol=1e-5)
    forced, _ = model(batch, noise, beta=0.3, n_past=n_past, teacher_forcing=True)
    assert abs(forced - loss) > 1e-6


@pytest.mark.parametrize("prior", ["fixed", "learned"])
@pytest.mark.parametrize("net", sorted(NETS))
@pytest.mark.parametrize("teacher_forcing", [True, False])
def test_every_parameter_gets_a_gradient(prior, net, teacher_forcing):
    model = small(prior=prior, net=net)
    batch = clip(size=frame_size(net))
    loss, _ = model(batch, noise_for(model), beta=1e-2, n_past=2, teacher_forcing=teacher_forcing)
    loss.backward()
    dead = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or parameter.grad.abs().sum() == 0
    ]
    assert dead == []


def test_fed_back_predictions_are_not_detached():
    """The last frame's gradient also runs through the predictions that were fed back."""
    model = small()
    outputs = []
    model.decoder.register_forward_hook(lambda module, given, made: outputs.append(made))
    x, condition = clip().frames.transpose(0, 1), model.condition(clip().actions, None, 6)
    last = model.rollout(x, condition, noise_for(model), n_past=2).x_pred[-1]
    gradients = torch.autograd.grad(last.sum(), outputs[:-1], allow_unused=True)
    # Frame 1 is given, so its prediction is never fed back.
    assert [g is not None and bool(g.abs().sum() > 0) for g in gradients] == [False] + [True] * 3


def test_each_true_frame_is_encoded_once_a_step():
    model = small()
    calls = []
    model.encoder.register_forward_hook(lambda module, given, made: calls.append(len(made[0])))
    model(clip(), noise_for(model), beta=0.0, n_past=2, teacher_forcing=True)
    assert sum(calls) == 6 * len(clip())
    calls.clear()
    model(clip(), noise_for(model), beta=0.0, n_past=2, teacher_forcing=False)
    assert sum(calls) == (6 + 3) * len(clip())  # and each prediction that is fed back


# -- who influences whom ------------------------------------------------------------------------


def generate(model: VideoCVAE, batch: Clip, **more) -> torch.Tensor:
    noise = noise_for(model).transpose(0, 1)[:, None]
    return model.generate(
        batch.frames[:, :2], batch.actions, batch.positions, noise=noise, n_future=4, **more
    )[:, 0]


@pytest.mark.parametrize("t", range(6))
@pytest.mark.parametrize("timing", ["source", "target"])
def test_an_action_reaches_the_frames_after_it_and_no_other(timing, t):
    model = small(timing=timing, condition="actions")
    before = generate(model, clip())
    changed = clip()
    changed.actions[:, t] += 5.0
    differs = [
        bool((a - b).abs().max() > 1e-6)
        for a, b in zip(before.unbind(1), generate(model, changed).unbind(1), strict=True)
    ]
    # Predicted frames are 2 .. 5. Source-time: action t is fed when frame t + 1 is predicted;
    # target-time: when frame t is (and row 0 never).
    first = t + 1 if timing == "source" else t
    reaches = not (timing == "target" and t == 0)
    assert differs == [reaches and frame >= first for frame in range(2, 6)]


def test_positions_matter_only_to_models_that_ask_for_them():
    moved = clip()
    moved.positions[:, 2] += 5.0
    deaf, hears = small(condition="actions"), small(condition="both")
    assert torch.equal(generate(deaf, clip()), generate(deaf, moved))
    assert not torch.allclose(generate(hears, clip()), generate(hears, moved))


def test_each_given_frame_changes_the_prediction():
    model = small()
    before = generate(model, clip())
    for t in (0, 1):
        changed = clip()
        changed.frames[:, t] = 1 - changed.frames[:, t]
        assert (generate(model, changed) - before).abs().max() > 1e-5


def test_the_predictor_remembers():
    """A dead LSTM would make frame 1's condition irrelevant to frame 3 under teacher forcing."""
    model = small().eval()
    x, noise = clip().frames.transpose(0, 1), noise_for(model)
    condition = model.condition(clip().actions, None, 6)
    changed = condition.clone()
    changed[0] += 5.0
    a, b = (
        model.rollout(x, c, noise, n_past=2, teacher_forcing=True).x_pred
        for c in (condition, changed)
    )
    assert ((a - b).abs().amax(dim=(1, 2, 3, 4)) > 1e-7).all()


def test_noise_makes_futures_differ_and_the_same_noise_the_same():
    model = small()
    batch = clip()
    generator = torch.Generator().manual_seed(3)
    futures = model.generate(batch.frames[:, :2], batch.actions, n_samples=3, generator=generator)
    assert futures.shape == (2, 3, 4, 3, 64, 64)
    assert (futures[:, 0] - futures[:, 1]).abs().max() > 1e-5
    again = model.generate(
        batch.frames[:, :2],
        batch.actions,
        n_samples=3,
        generator=torch.Generator().manual_seed(3),
    )
    assert torch.equal(futures, again)


@pytest.mark.parametrize("prior", ["fixed", "learned"])
def test_samples_in_one_batch_equal_samples_one_by_one(prior):
    model = small(prior=prior)
    batch = clip()
    noise = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    together = model.generate(batch.frames[:, :2], batch.actions, n_samples=3, noise=noise)
    for k in range(3):
        alone = model.generate(batch.frames[:, :2], batch.actions, noise=noise[:, k : k + 1])
        torch.testing.assert_close(together[:, k], alone[:, 0], atol=1e-5, rtol=1e-4)


def test_any_batch_size_and_no_trace_between_calls():
    model = small()
    whole = generate(model, clip())
    one = model.generate(
        clip().frames[:1, :2],
        clip().actions[:1],
        noise=noise_for(model).transpose(0, 1)[:1, None],
    )
    torch.testing.assert_close(one[:, 0], whole[:1], atol=1e-5, rtol=1e-4)
    assert torch.equal(generate(model, clip()), whole)


def test_generating_leaves_training_mode_and_statistics_alone():
    model = small().train()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    generate(model, clip())
    assert model.training
    assert all(torch.equal(before[name], buffer) for name, buffer in model.named_buffers())


def test_skips_freeze_at_the_last_past_frame_or_one_before_it():
    """Only the skips of the frozen frame may carry fine detail of it into the later frames."""
    used = []
    for skips_from in ("last-past", "svg"):
        model = small(skips_from=skips_from).eval()
        terms = []
        original = model.decoder.context

        def spy(skips, known=None, original=original, terms=terms):
            terms.append(skips[0].clone())
            return original(skips, known)

        model.decoder.context = spy
        generate(model, clip())
        frame = {"last-past": 1, "svg": 0}[skips_from]
        _, expected = model.encoder(clip().frames[:, frame])
        torch.testing.assert_close(terms[-1], expected[0], atol=1e-5, rtol=1e-4)
        used.append(len(terms))
    assert used == [2, 1]


def test_the_latent_of_the_past_comes_from_the_posterior():
    model = small()
    x = clip().frames.transpose(0, 1)
    noise, condition = noise_for(model), model.condition(clip().actions, None, 6)
    model.eval()
    known = model.rollout(x, condition, noise, n_past=2).x_pred
    generated = model.rollout(x[:2], condition, noise, n_past=2, z_from_posterior=False).x_pred
    torch.testing.assert_close(known[0], generated[0], atol=1e-5, rtol=1e-4)
    assert (known[1] - generated[1]).abs().max() > 1e-6


# -- refusals and weights -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "actions", "message"),
    [
        ({"condition": "actions"}, None, "none were given"),
        ({"condition": "actions"}, torch.zeros(2, 6, 5), "5 numbers a step"),
        ({"condition": "actions", "timing": "target"}, torch.zeros(2, 5, 4), "need 6 rows"),
        ({"condition": "both"}, torch.zeros(2, 6, 4), "positions"),
    ],
)
def test_a_condition_that_does_not_fit_is_refused(settings, actions, message):
    with pytest.raises(ForeframeError, match=message):
        small(**settings).generate(clip().frames[:, :2], actions, n_future=4)


@pytest.mark.parametrize(
    "settings", [{"width": 0.0}, {"z_dim": 0}, {"condition": "actions", "action_dim": 0}]
)
def test_a_model_without_a_meaning_is_refused(settings):
    with pytest.raises(ForeframeError, match="--"):
        small(**settings)


@pytest.mark.parametrize("prior", ["fixed", "learned"])
def test_save_and_from_pretrained_give_the_same_futures(tmp_path, prior):
    model = small(prior=prior)
    model.save_pretrained(tmp_path)
    loaded = VideoCVAE.from_pretrained(tmp_path)
    assert loaded.config == model.config
    assert torch.equal(generate(loaded, clip()), generate(model, clip()))


def test_truncated_or_foreign_weights_are_refused(tmp_path):
    small().save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ForeframeError, match=r"model\.safetensors.*truncated"):
        VideoCVAE.from_pretrained(tmp_path)
    weights.write_bytes(whole)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"z_dim": 4', '"z_dim": 8'))
    with pytest.raises(ForeframeError, match="another configuration"):
        VideoCVAE.from_pretrained(tmp_path)
    config.write_text(config.read_text().replace('"z_dim"', '"zdim"'))
    with pytest.raises(ForeframeError, match="unknown field zdim"):
        VideoCVAE.from_pretrained(tmp_path)


def test_the_lines_that_the_documentation_quotes_stand_in_the_code():
    root = Path(__file__).parents[1]
    rows = re.findall(
        r"^\|.*\| `([^`]+)` \| `(model/[\w/]+\.py)` \|$",
        (root / "docs" / "model.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert len(rows) >= 8
    for line, file in rows:
        assert line in (root / "src" / "foreframe" / file).read_text(encoding="utf-8"), line
