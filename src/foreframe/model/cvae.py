"""The conditional VAE over video: its objective, and how it is stepped through time.

Source: Denton & Fergus 2018, Stochastic Video Generation with a Learned Prior, with a condition.
"""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from foreframe.model.clip import Clip
from foreframe.model.imagination import Imagination
from foreframe.model.nets.norm import mean_over_processes
from foreframe.model.nets.recurrent import Gaussian
from foreframe.model.recurrence import Memory, Recurrence, Sources
from foreframe.model.spans import Rollout, repeat, time_first


class CVAE(Recurrence):
    """A conditional VAE over video with one latent z_t per step.

    Args:
        config: the model's configuration.

    Raises:
        ForeframeError: a width or size in ``config`` has no meaning.
    """

    # -- the objective --------------------------------------------------------------------------

    def rollout(
        self,
        frames: Float[Tensor, "known batch 3 height width"],
        condition: Float[Tensor, "steps batch condition"] | None,
        noise: Float[Tensor, "steps batch_samples z"],
        *,
        n_past: int,
        teacher_forcing: bool = False,
        z_from_posterior: bool = True,
        recompute: bool = False,
    ) -> Rollout:
        """Predict frames 1 .. T-1, T - 1 being the length of ``noise``.

        Args:
            frames: the known frames in [0, 1], time first: all T for training and reconstruction,
                the first ``n_past`` for generation.
            condition: see ``unroll``, as for the others.
            noise: [T-1, B * K, z_dim].
            n_past: number of given frames.
            teacher_forcing: feed true frames in after the past too.
            z_from_posterior: draw every z from the posterior.
            recompute: keep no activations for the backward pass.
        """
        observed = self.observe(frames, n_past, recompute=recompute)
        spans = list(
            self.unroll(
                observed,
                condition,
                noise,
                n_past=n_past,
                teacher_forcing=teacher_forcing,
                z_from_posterior=z_from_posterior,
                recompute=recompute,
            )
        )
        x_pred = torch.cat([span.x_pred for span in spans])
        return Rollout(x_pred, observed.q, Gaussian.join([span.p for span in spans]))

    def forward(
        self,
        clip: Clip,
        noise: Float[Tensor, "steps batch z"],
        *,
        beta: float,
        n_past: int,
        teacher_forcing: bool,
        free_bits: float = 0.0,
        recompute: bool = False,
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
            free_bits: nats below which the KL of a latent dimension, averaged over the batch (of
                all processes), costs nothing more at a step: the KL of the loss is then
                sum_i sum_d max(free_bits, mean_batch KL_d). Source: Kingma et al. 2016 (inverse
                autoregressive flow), appendix C.8. What is logged stays the KL itself.
            recompute: keep the activations of no step for the backward pass, but compute them again
                there (Chen et al. 2016): less memory, more time.

        Returns:
            the loss, and ``loss``, ``mse`` and ``kld`` divided by T as SVG logs them (detached).
        """
        x = time_first(clip.frames)
        condition = self.condition(clip.actions, clip.positions, clip.n_frames)
        x_pred, q, p = self.rollout(
            x,
            condition,
            noise,
            n_past=n_past,
            teacher_forcing=teacher_forcing,
            recompute=recompute,
        )
        assert q is not None
        mse = (x_pred - x[1:]).square().mean(dim=(1, 2, 3, 4)).sum()
        kld = costs = q.kl(p).mean(dim=1).sum()
        if free_bits > 0:
            mean = mean_over_processes(q.kl_per_dimension(p).mean(dim=1))
            costs = mean.clamp(min=free_bits).sum()
        loss = mse + beta * costs
        logs = {"loss": loss, "mse": mse, "kld": kld}
        return loss, {name: value.detach() / clip.n_frames for name, value in logs.items()}

    # -- step by step ---------------------------------------------------------------------------

    def begin(
        self,
        past: Shaped[Tensor, "batch n_past 3 height width"],
        actions: Float[Tensor, "batch rows action"] | None = None,
        positions: Float[Tensor, "batch rows position"] | None = None,
        *,
        n_samples: int = 1,
        noise: Float[Tensor, "batch n_samples steps z"] | None = None,
    ) -> Imagination:
        """The moment after the given frames, from which ``step`` imagines on.

        Args:
            past: [B, n_past, 3, H, W], the given frames: uint8 or float in [0, 1].
            actions: of the given frames: [B, n_past - 1 or more, A] in source-time, n_past or more
                in target-time.
            positions: [B, rows, P], likewise.
            n_samples: futures K of each sequence.
            noise: [B, K, n_past - 1, z_dim] from N(0, I), the randomness of the given frames' z.

        Raises:
            ForeframeError: see ``condition``; or there are fewer given frames than the skips need.
        """
        batch, n_past = past.shape[:2]
        if noise is None:
            noise = torch.randn(batch, n_samples, n_past - 1, self.config.z_dim)
        condition, observed = self._known(past, actions, positions, n_past)
        drawn = noise.to(observed.h.device).flatten(0, 1).transpose(0, 1)
        seen = observed.repeated(n_samples)
        memory = Memory()
        if n_past > 1:
            with self._imagining():
                memory = self.predict(
                    seen.h[:-1],
                    None if condition is None else repeat(condition, n_samples),
                    memory,
                    drawn,
                    observed.contexts[0],
                    None,
                    q=seen.q,
                    draw=False,
                ).memory
        return Imagination(
            memory, observed.contexts[-1], seen.frames[-1], seen.h[-1], observed.frames[-1]
        )

    def step(
        self,
        now: Imagination,
        action: Float[Tensor, "batch action"] | None = None,
        position: Float[Tensor, "batch position"] | None = None,
        *,
        noise: Float[Tensor, "batch n_samples z"] | None = None,
        z: Float[Tensor, "batch n_samples z"] | None = None,
    ) -> tuple[Float[Tensor, "batch n_samples 3 height width"], Imagination]:
        """Imagine one frame more: the very step that ``futures`` takes for each of its frames.

        Args:
            now: of ``begin`` or of the step before; it stays as it is, so that one can go back to
                it and act otherwise.
            action: [B, A], the row of the condition that leads to the frame: the action between
                the last frame and this one in source-time.
            position: [B, P], likewise.
            noise: [B, K, z_dim] from N(0, I), the randomness of z; by default drawn.
            z: the latent itself, instead of a draw from the prior.

        Returns:
            float32 frames in [0, 1], and the moment after.

        Raises:
            ForeframeError: see ``condition_rows``.
        """
        samples, device = now.n_samples, now.x.device
        if noise is None:
            noise = torch.randn(now.batch, samples, self.config.z_dim, device=device)
        condition = self.condition_rows(
            None if action is None else action.to(device),
            None if position is None else position.to(device),
        )
        sources = None
        if self.config.output == "blend":
            sources = Sources(now.x[None], repeat(now.past[None], samples))
        with self._imagining():
            h = self._encode(now.x, 1, False)[0] if now.h is None else now.h
            made = self.predict(
                h[None],
                None if condition is None else repeat(condition[None], samples),
                now.memory,
                noise.to(device).flatten(0, 1)[None],
                now.context,
                sources,
                z=None if z is None else z.to(device).flatten(0, 1)[None],
            )
        assert made.x_pred is not None
        x = made.x_pred[0]
        fed_back = made.h_pred[0] if self.config.recurrence == "latent" else None
        after = now._replace(memory=made.memory, x=x, h=fed_back)
        return x.unflatten(0, (now.batch, samples)), after
