"""The KL doctor: numbers on latents that are known, and the words that follow from them."""

import json
from dataclasses import replace

import pytest
import torch

from foreframe import Clip, ForeframeError, ModelConfig, VideoCVAE
from foreframe.commands.app import main
from foreframe.config.plain import to_dict
from foreframe.config.recipes import recipe
from foreframe.config.schedules import KLSchedule, check_schedules
from foreframe.data.store.opened import open_split
from foreframe.diagnosis.measure import Measured, measure
from foreframe.diagnosis.options import DiagnoseOptions
from foreframe.diagnosis.result import Diagnosis
from foreframe.diagnosis.words import verdicts
from foreframe.model.latent import latent_numbers
from foreframe.model.nets.recurrent import Gaussian
from foreframe.system.files import write_json
from foreframe.training.checkpoint import save_best
from foreframe.training.health import beginning

SMALL = {"net": "dcgan64", "width": 0.125, "g_dim": 16, "z_dim": 4, "rnn_size": 16}


def tiny(**settings) -> VideoCVAE:
    torch.manual_seed(0)
    return VideoCVAE(ModelConfig(**{**SMALL, **settings})).eval()


def measured(model, data, **options):
    store = open_split(data, "validate", log=lambda text: None)
    return measure(model, store, DiagnoseOptions(n_future=4, limit=3), **options)


# -- the numbers --------------------------------------------------------------------------------


def test_the_kl_of_the_dimensions_adds_up_and_is_pytorchs():
    torch.manual_seed(0)
    q, p = (Gaussian(torch.randn(5, 3, 4), torch.randn(5, 3, 4)) for _ in range(2))
    normal = [torch.distributions.Normal(g.mu, (0.5 * g.logvar).exp()) for g in (q, p)]
    expected = torch.distributions.kl_divergence(*normal)
    torch.testing.assert_close(q.kl_per_dimension(p), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(q.kl(p), expected.sum(-1), rtol=1e-4, atol=1e-5)
    found = latent_numbers(q, p)
    assert found.kl_per_dimension == pytest.approx(expected.mean((0, 1)).tolist(), rel=1e-4)
    assert sum(found.kl_per_step) / 5 == pytest.approx(found.kl)


def test_active_units_are_those_whose_mean_follows_the_data():
    """Of four units one varies with variance 1, one with 0.04, one hardly, and one is far off."""
    torch.manual_seed(0)
    mu = torch.randn(50, 40, 4) * torch.tensor([1.0, 0.2, 0.05, 0.0])
    mu[..., 3] += 3.0  # a constant: much KL, nothing said
    zeros = torch.zeros_like(mu)
    found = latent_numbers(Gaussian(mu, zeros), Gaussian(zeros, zeros))
    assert found.active_units == 2
    assert found.mean_variance == pytest.approx([1.0, 0.04, 0.0025, 0.0], rel=0.1)
    assert found.active_by_kl == 3  # 0.5, 0.02 and 4.5 nats, but 0.001
    assert found.sigma_q == [1.0] * 5


def test_a_posterior_that_is_the_prior_says_nothing(toy_data):
    model = tiny()
    with torch.no_grad():
        for head in (model.posterior.mu, model.posterior.logvar):
            head.weight.zero_()
            head.bias.zero_()
    found = measured(model, toy_data)
    assert found.latent.kl == 0
    assert found.latent.active_units == 0
    assert found.gap == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        model.frame_predictor.embed.weight[:, -4:] = 0  # the frames do not hear z either
    found = measured(model, toy_data)
    assert found.cost_of_zero == 0
    (said,) = verdicts(found, beta_max=1.0, z_dim=4)
    assert said.level == "ill"
    assert "unused: KL 0.000 nats a step, zeroing z costs 0.00 dB" in said.text
    assert "--beta-max (1)" in said.text


def test_a_latent_that_the_frames_hang_on_is_heard(toy_data):
    """Each source of z gives other frames, and the means of q are what zeroing takes away."""
    model = tiny()
    with torch.no_grad():
        model.posterior.mu.bias.fill_(2.0)
        for parameter in [*model.frame_predictor.parameters(), *model.decoder.parameters()]:
            if parameter.ndim > 1:
                parameter.mul_(4)
    found = measured(model, toy_data)
    assert len(set(found.psnr.values())) == 4
    assert found.cost_of_zero == found.psnr["posterior"] - found.psnr["zero"] != 0
    assert found.between_samples < 90
    assert found.latent.kl == pytest.approx(4 * 0.5 * 2.0**2, rel=0.2)
    assert found.latent.mu_q[2] == pytest.approx(2.0, rel=0.1)
    with torch.no_grad():
        model.frame_predictor.embed.weight[:, -4:] = 0
    deaf = measured(model, toy_data)
    assert len(set(deaf.psnr.values())) == 1
    assert deaf.between_samples == 100.0


# -- the words ----------------------------------------------------------------------------------


def known(*, kl=2.0, active=3, sigma=0.5, posterior=25.0, prior=24.5, zero=22.0, between=30.0):
    numbers = latent_numbers(
        Gaussian(torch.zeros(2, 2, 4), torch.zeros(2, 2, 4)),
        Gaussian(torch.zeros(2, 2, 4), torch.zeros(2, 2, 4)),
    )
    numbers = replace(
        numbers,
        kl_per_dimension=[kl / 4] * 4,
        mean_variance=[1.0] * active + [0.0] * (4 - active),
        sigma_q=[sigma / 2, sigma / 2, sigma, sigma, sigma * 2],
    )
    psnr = {"posterior": posterior, "prior": prior, "prior-mean": prior, "zero": zero}
    return Measured(numbers, psnr, between, 2)


SAYINGS = {
    "The latent is used": known(),
    "The latent is unused": known(kl=0.01, active=0, zero=25.0),
    "the frames do not follow it": known(zero=25.0),
    "The prior does not fit the posterior": known(prior=20.0),
    "all but a point": known(sigma=0.001),
    "blown up": known(kl=5000.0),
    "are alike": known(between=60.0),
}


@pytest.mark.parametrize(("words", "found"), SAYINGS.items(), ids=SAYINGS.keys())
def test_the_words_follow_from_the_numbers(words, found):
    said = verdicts(found, beta_max=1e-4, z_dim=4)
    assert [verdict for verdict in said if words in verdict.text]
    others = [other for other in SAYINGS if other != words]
    assert not [other for other in others for verdict in said if other in verdict.text]
    assert (said[0].level == "healthy") == (words == "The latent is used")


def test_a_latent_of_the_episode_is_counted_by_episodes():
    found = known(prior=20.0)
    found = replace(found, latent=replace(found.latent, kl_per_step=[2.0]))
    text = " ".join(said.text for said in verdicts(found, beta_max=1.0, z_dim=4))
    assert "Raise --beta-max (1)." in text
    assert "--prior learned" not in text
    said = verdicts(replace(found, psnr=known().psnr), beta_max=1.0, z_dim=4)
    assert "nats an episode" in said[0].text


def row(epoch, beta=1e-2, units=4, mse=0.01, kld=2.0, sigma=1.0):
    return {
        "epoch": epoch,
        "beta": beta,
        "active_units": units,
        "latent_kl": 0.5 * units,
        "mse": mse,
        "kld": kld,
        "sigma_q_most": sigma,
    }


def warnings_of(history):
    return [k for k in range(1, len(history) + 1) if beginning(history[:k]) is not None]


def test_a_warning_comes_once_when_the_trouble_begins():
    fading = [row(0, beta=0.0), row(1), row(2, units=0), row(3, units=0), row(4), row(5, units=0)]
    assert warnings_of(fading) == [3]
    assert "unused" in beginning(fading[:3])
    # At beta 0 nothing presses on the latent: it may rest.
    assert warnings_of([row(0), row(1, beta=0.0, units=0)]) == []
    # Nor is unused what has yet to come down from many nats.
    assert warnings_of([row(0), row(1, units=0) | {"latent_kl": 41.0}]) == []
    blown = [row(0), row(1, mse=0.005), row(2, mse=0.03), row(3, mse=0.04)]
    assert warnings_of(blown) == [3]
    assert "6.0 times" in beginning(blown[:3])
    assert warnings_of([row(0), row(1, kld=1e4), row(2, sigma=1e3)]) == [2]
    assert warnings_of([row(0), row(1), row(2)]) == []


def test_histories_of_older_versions_warn_of_nothing_they_do_not_know():
    old = [{"epoch": k, "beta": 1.0, "mse": 0.01, "kld": 0.0} for k in range(3)]
    assert warnings_of(old) == []


# -- free bits ----------------------------------------------------------------------------------


def gradients(free_bits):
    model = tiny().double()
    generator = torch.Generator().manual_seed(0)
    clip = Clip(
        torch.rand(2, 5, 3, 64, 64, generator=generator).double(),
        torch.randn(2, 5, 4, generator=generator).double(),
    )
    noise = torch.randn(4, 2, 4, generator=generator).double()
    loss, logs = model(clip, noise, beta=1.0, n_past=2, teacher_forcing=True, free_bits=free_bits)
    loss.backward()
    of_kl = torch.cat([p.grad.flatten() for p in model.posterior.parameters()])
    return loss.item(), logs, of_kl


def test_free_bits_give_the_kl_its_first_nats():
    plain, logs, pressed = gradients(0.0)
    assert gradients(1e-12)[0] == pytest.approx(plain, rel=1e-9)  # all units are above the bound
    free, free_logs, left = gradients(100.0)  # and all are below this one
    mse = logs["mse"].item() * 5
    assert free == pytest.approx(mse + 4 * 4 * 100.0)
    assert free_logs["kld"] == logs["kld"]  # what is logged is the KL itself
    assert not torch.allclose(pressed, left, rtol=1e-3, atol=0)
    assert gradients(1000.0)[2].equal(left)  # below the bound it does not matter how far


def test_free_bits_without_meaning_are_refused():
    for value in (-0.1, float("inf"), float("nan")):
        with pytest.raises(ForeframeError, match="--free-bits"):
            check_schedules(KLSchedule(free_bits=value), recipe("svg-small").train.forcing, 10)


# -- the command --------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    save_best(tmp_path / "run", tiny())
    write_json(tmp_path / "run" / "run.json", to_dict(recipe("svg-small")))
    return tmp_path / "run"


def test_the_command_prints_and_writes(run, toy_data, capsys):
    main(["diagnose", str(run), "--data", str(toy_data), "--n-future", "4"])
    printed = capsys.readouterr().out
    found = json.loads((run / "diagnosis.json").read_text())
    assert found["verdicts"][0]["text"] in printed
    assert f"{found['psnr']['zero']:.2f} dB" in printed
    assert len(found["kl_per_dimension"]) == 4
    assert len(found["kl_per_step"]) == 5
    assert (run / "diagnosis.png").stat().st_size > 5000
    again = Diagnosis.read(run / "diagnosis.json")
    assert again.to_json() == found
    (run / "diagnosis.json").write_text(json.dumps({**found, "kl": "much"}))
    with pytest.raises(ForeframeError, match=r"diagnosis\.json: is not a diagnosis"):
        Diagnosis.read(run / "diagnosis.json")


@pytest.mark.parametrize("words", ["--limit 0", "--n-future 0", "--n-future 99", "--seed -1"])
def test_the_command_refuses_what_has_no_meaning(run, toy_data, words, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["diagnose", str(run), "--data", str(toy_data), *words.split()])
    assert stopped.value.code == 2
    assert not (run / "diagnosis.json").exists()
