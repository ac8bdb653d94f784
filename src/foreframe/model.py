"""VideoCVAE: action-conditioned stochastic video generation (Denton & Fergus 2018, conditional).

One rollout serves training, reconstruction, sampling and the page in the browser. A fixed prior is
just another prior: SVG-FP and SVG-LP differ in one object.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub import PyTorchModelHubMixin
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from foreframe.clip import Clip
from foreframe.config import from_dict
from foreframe.errors import ForeframeError
from foreframe.model_config import ModelConfig as ModelConfig
from foreframe.model_config import check_model_config
from foreframe.nets.conv import NETS, Skips, initialise
from foreframe.nets.recurrent import LSTM, FixedPrior, Gaussian, GaussianLSTM, State
from foreframe.weights import load_into, local_or_hub, read_tensors


class Memory(NamedTuple):
    """The recurrent state between two steps; None is the start of a sequence."""

    predictor: State | None = None
    prior: State | None = None


class Step(NamedTuple):
    """What one step yields."""

    x_pred: Tensor
    p: Gaussian
    memory: Memory


class Rollout(NamedTuple):
    """Frames 1 .. T-1 as predicted, with the posterior (where frames were known) and the prior."""

    x_pred: Float[Tensor, "steps batch 3 height width"]
    q: Gaussian | None
    p: Gaussian


def time_first(frames: Shaped[Tensor, "batch time 3 height width"]) -> Tensor:
    """[B, T, 3, H, W] to [T, B, 3, H, W] in [0, 1], each frame contiguous in channels-last order.

    Done once a batch, so that the loop over time slices without copying.
    """
    frames = frames.permute(1, 0, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    return frames if frames.is_floating_point() else frames.float().div_(255)


class VideoCVAE(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="foreframe",
    tags=["video-prediction", "world-model", "robotics"],
):
    """A conditional VAE over video with one latent z_t per step.

    Args:
        config: the model's configuration.

    Raises:
        ForeframeError: a width or size in ``config`` has no meaning.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        check_model_config(config)
        self.config = config
        c = config
        self.encoder, self.decoder = NETS[c.net](c.g_dim, c.width)
        self.frame_predictor = LSTM(
            c.condition_dim + c.g_dim + c.z_dim, c.g_dim, c.rnn_size, c.predictor_layers
        )
        self.posterior = GaussianLSTM(c.g_dim, c.z_dim, c.rnn_size, c.posterior_layers)
        self.prior: FixedPrior | GaussianLSTM = (
            FixedPrior(c.z_dim)
            if c.prior == "fixed"
            else GaussianLSTM(c.g_dim, c.z_dim, c.rnn_size, c.prior_layers)
        )
        self.apply(initialise)
        # Statistics of the training split's condition, set once by ``standardise_condition``.
        self.register_buffer("condition_mean", torch.zeros(c.condition_dim))
        self.register_buffer("condition_deviation", torch.ones(c.condition_dim))
        # Convolutions run faster on the CPU and on GPUs with the channels innermost.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    condition_mean: Tensor
    condition_deviation: Tensor

    # -- the condition --------------------------------------------------------------------------

    def standardise_condition(
        self,
        actions: tuple[Float[Tensor, " action"], Float[Tensor, " action"]] | None,
        positions: tuple[Float[Tensor, " position"], Float[Tensor, " position"]] | None,
    ) -> None:
        """Take the mean and deviation of the training split's condition.

        A number that never changes keeps deviation 1. Does nothing when the configuration says that
        conditions are fed raw.

        Args:
            actions: mean and standard deviation [action_dim] of the split's actions; None if it
                has none.
            positions: [position_dim], likewise.
        """
        config = self.config
        used = ((actions, config.uses_actions), (positions, config.uses_positions))
        parts = [part for part, on in used if on and part is not None]
        if not config.standardise or not parts:
            return
        mean, deviation = (torch.cat(columns) for columns in zip(*parts, strict=True))
        self.condition_mean.copy_(mean)
        self.condition_deviation.copy_(torch.where(deviation > 1e-6, deviation, 1.0))

    def condition(
        self,
        actions: Float[Tensor, "batch rows action"] | None,
        positions: Float[Tensor, "batch rows position"] | None,
        n_frames: int,
    ) -> Float[Tensor, "steps batch condition"] | None:
        """The condition of frames 1 .. n_frames-1, time first; None for an unconditional model.

        Args:
            actions: [B, rows, action_dim]; row t acts between frame t and t + 1.
            positions: [B, rows, position_dim]; row t is the end effector at frame t.
            n_frames: number of frames T, given ones included. Source-time needs T - 1 rows,
                target-time T.

        Raises:
            ForeframeError: a part that the model is conditioned on is missing, too short or of
                another width.
        """
        config = self.config
        parts: list[Tensor] = []
        wanted = [
            ("actions", actions, config.uses_actions, config.action_dim),
            ("positions", positions, config.uses_positions, config.position_dim),
        ]
        rows = n_frames - 1 if config.timing == "source" else n_frames
        for name, part, used, width in wanted:
            if not used:
                continue
            if part is None:
                raise ForeframeError(
                    f"{name}: the model is conditioned on {config.condition_name}, and none were "
                    f"given. Use data that has {name}, or a model trained without them."
                )
            if part.shape[-1] != width:
                raise ForeframeError(
                    f"{name}: {part.shape[-1]} numbers a step, but the model was built for {width}."
                )
            if part.shape[1] < rows:
                raise ForeframeError(
                    f"{name}: {n_frames} frames in {config.timing}-time need {rows} rows, "
                    f"and {part.shape[1]} were given."
                )
            parts.append(part.float())
        if not parts:
            return None
        condition = torch.cat([part[:, :rows] for part in parts], -1).transpose(0, 1)
        condition = (condition - self.condition_mean) / self.condition_deviation
        return condition if config.timing == "source" else condition[1:]

    # -- the recurrence -------------------------------------------------------------------------

    def step(
        self,
        h: Float[Tensor, "batch g"],
        condition: Float[Tensor, "batch condition"] | None,
        noise: Float[Tensor, "batch z"],
        skip_terms: Skips,
        memory: Memory,
        q: Gaussian | None = None,
    ) -> Step:
        """Predict one frame.

        Args:
            h: the encoded input frame, [B, g_dim].
            condition: [B, condition_dim], None for an unconditional model.
            noise: [B, z_dim] from N(0, I), the randomness of z.
            skip_terms: the decoder's share of the frozen skips (``Decoder.skip_terms``).
            memory: the state of the step before; ``Memory()`` at the start of a sequence.
            q: draw z from this posterior; None draws it from the prior.

        Returns:
            the predicted frame [B, 3, H, W] in [0, 1], the prior of z, and the new state.
        """
        p, prior_state = self.prior(h[None], memory.prior)
        p = p[0]
        z = (p if q is None else q).sample(noise)
        known = [h, z] if condition is None else [condition, h, z]
        h_pred, predictor_state = self.frame_predictor(torch.cat(known, -1)[None], memory.predictor)
        x_pred = self.decoder(h_pred[0], skip_terms)
        return Step(x_pred, p, Memory(predictor_state, prior_state))

    def rollout(
        self,
        frames: Float[Tensor, "known batch 3 height width"],
        condition: Float[Tensor, "steps batch condition"] | None,
        noise: Float[Tensor, "steps batch_samples z"],
        *,
        n_past: int,
        teacher_forcing: bool = False,
        z_from_posterior: bool = True,
    ) -> Rollout:
        """Predict frames 1 .. T-1, T - 1 being the length of ``noise``.

        Args:
            frames: the known frames in [0, 1], time first: all T for training and reconstruction,
                the first ``n_past`` for generation.
            condition: of ``condition``, for T - 1 steps.
            noise: [T-1, B * K, z_dim] for K samples of each sequence (sample index fastest).
            n_past: number of given frames.
            teacher_forcing: feed the true frame i - 1 in, not the prediction, after the past too.
            z_from_posterior: draw every z from the posterior; else only those of known past frames
                (i < n_past), and from the prior afterwards.
        """
        samples = noise.shape[1] // frames.shape[1]
        # The skips of frame n_past - 1 are the last that are not themselves of the future.
        last_skip = n_past if self.config.skips_from == "last-past" else n_past - 1
        h_true: list[Tensor] = []
        skips: list[Skips] = []
        for t, frame in enumerate(frames):  # each true frame is encoded once
            h, frame_skips = self.encoder(frame)
            h_true.append(_repeat(h, samples))
            if t < last_skip:
                skips.append(frame_skips)
        q = None
        if len(frames) > 1:
            q, _ = self.posterior(torch.stack(h_true[1:]))

        memory, skip_terms = Memory(), list[Tensor]()
        predictions: list[Tensor] = []
        priors: list[Gaussian] = []
        for i in range(1, len(noise) + 1):
            if i <= n_past or teacher_forcing:
                h = h_true[i - 1]
            else:
                h, _ = self.encoder(predictions[-1])
            if i <= last_skip:
                skip_terms = self.decoder.skip_terms(skips[i - 1])
            use_q = q is not None and (z_from_posterior or i < n_past)
            x_pred, p, memory = self.step(
                h,
                None if condition is None else _repeat(condition[i - 1], samples),
                noise[i - 1],
                skip_terms,
                memory,
                q[i - 1] if q is not None and use_q else None,
            )
            predictions.append(x_pred)
            priors.append(p)
        p = Gaussian(torch.stack([p.mu for p in priors]), torch.stack([p.logvar for p in priors]))
        return Rollout(torch.stack(predictions), q, p)

    # -- the objective --------------------------------------------------------------------------

    def forward(
        self,
        clip: Clip,
        noise: Float[Tensor, "steps batch z"],
        *,
        beta: float,
        n_past: int,
        teacher_forcing: bool,
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """The negative evidence lower bound, its KL weighted by ``beta``, and what to log.

        loss = sum_i MSE(x_pred_i, x_i) + beta * sum_i KL(q(z_i) || p(z_i)), i = 1 .. T-1: the MSE
        is the mean over batch, channels and pixels, the KL is summed over z and averaged over the
        batch. Source: Denton & Fergus 2018, section 3, with p(X | Z, c) a Gaussian of fixed
        variance, as docs/model.md derives it.

        Args:
            clip: B clips of T frames.
            noise: [T-1, B, z_dim] from N(0, I).
            beta: weight of the KL.
            n_past: number of given frames.
            teacher_forcing: feed true frames in after the past too.

        Returns:
            the loss, and ``loss``, ``mse`` and ``kld`` divided by T as SVG logs them (detached).
        """
        x = time_first(clip.frames)
        condition = self.condition(clip.actions, clip.positions, clip.n_frames)
        x_pred, q, p = self.rollout(
            x, condition, noise, n_past=n_past, teacher_forcing=teacher_forcing
        )
        assert q is not None
        mse = (x_pred - x[1:]).square().mean(dim=(1, 2, 3, 4)).sum()
        kld = q.kl(p).mean(dim=1).sum()
        loss = mse + beta * kld
        logs = {"loss": loss, "mse": mse, "kld": kld}
        return loss, {name: value.detach() / clip.n_frames for name, value in logs.items()}

    # -- the future -----------------------------------------------------------------------------

    @torch.no_grad()
    def generate(
        self,
        past: Shaped[Tensor, "batch n_past 3 height width"],
        actions: Float[Tensor, "batch rows action"] | None = None,
        positions: Float[Tensor, "batch rows position"] | None = None,
        *,
        n_samples: int = 1,
        n_future: int | None = None,
        noise: Float[Tensor, "batch n_samples steps z"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "batch n_samples n_future 3 height width"]:
        """Imagine ``n_samples`` futures of each sequence, in evaluation mode.

        Args:
            past: [B, n_past, 3, H, W], the given frames: uint8 or float in [0, 1].
            actions: [B, rows, A], one row a frame, given frames included: ``actions[:, t]`` acts
                between frame t and t + 1.
            positions: [B, rows, P], for models that are conditioned on them.
            n_samples: futures K of each sequence.
            n_future: frames to predict; by default up to the last row of the condition.
            noise: [B, K, n_past + n_future - 1, z_dim] from N(0, I), to repeat a draw exactly.
            generator: of the noise, when none is given; a CPU generator draws the same numbers
                whatever device the model is on.

        Returns:
            float32 frames in [0, 1], [B, K, n_future, 3, H, W].

        Raises:
            ForeframeError: see ``condition``; or neither a condition nor ``n_future`` says how far.
        """
        batch, n_past = past.shape[:2]
        if n_future is None:
            used = [
                part
                for part, on in (
                    (actions, self.config.uses_actions),
                    (positions, self.config.uses_positions),
                )
                if on and part is not None
            ]
            if not used:
                raise ForeframeError(
                    "generate: without a condition, say how many frames: n_future=..."
                )
            n_future = min(part.shape[1] for part in used) - n_past
        if n_past < (2 if self.config.skips_from == "svg" else 1) or n_future < 1:
            raise ForeframeError(
                f"generate: {n_past} given and {n_future} future frames: too few "
                "(one row of the condition belongs to each frame, the given ones included)."
            )
        device = next(self.parameters()).device
        steps = n_past + n_future - 1
        if noise is None:
            noise = torch.randn(
                batch,
                n_samples,
                steps,
                self.config.z_dim,
                generator=generator,
                device=None if generator is None else generator.device,
            )
        condition = self.condition(
            None if actions is None else actions.to(device),
            None if positions is None else positions.to(device),
            n_past + n_future,
        )
        was_training = self.training
        self.eval()
        try:
            x_pred, _, _ = self.rollout(
                time_first(past.to(device)),
                condition,
                noise.to(device).flatten(0, 1).transpose(0, 1),
                n_past=n_past,
                z_from_posterior=False,
            )
        finally:
            self.train(was_training)
        return x_pred[n_past - 1 :].transpose(0, 1).unflatten(0, (batch, n_samples))

    # -- weights --------------------------------------------------------------------------------

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        map_location: str = "cpu",
        **model_kwargs: Any,
    ) -> "VideoCVAE":
        # Safetensors only: the mixin's own fallback would unpickle a file of unknown origin. And
        # the config again, since the mixin drops unknown keys in silence.
        hub = {
            "revision": revision,
            "cache_dir": cache_dir,
            "force_download": force_download,
            "token": token,
            "local_files_only": local_files_only,
        }
        config_file, weights_file = (
            local_or_hub(model_id, name, hub) for name in ("config.json", "model.safetensors")
        )
        values = json.loads(config_file.read_text(encoding="utf-8"))
        model = cls(from_dict(ModelConfig, values, str(config_file)))
        load_into(model, read_tensors(weights_file)[0], weights_file)
        return model.to(map_location).eval()


def _repeat(x: Tensor, samples: int) -> Tensor:
    return x if samples == 1 else x.repeat_interleave(samples, 0)
