"""The recurrence of the conditional VAE: its networks, and the one step that everything unrolls.

Training, reconstruction, sampling, stepping and the page in the browser all call
``Recurrence.predict``: advance, draw z, decode. A fixed prior is just another prior: SVG-FP and
SVG-LP differ in one object.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from foreframe.config.model import ModelConfig
from foreframe.model.imagines import Imagines
from foreframe.model.nets.architectures import NETS
from foreframe.model.nets.blend import DRAWN, blend
from foreframe.model.nets.conv import DecoderContext, Skips, initialise
from foreframe.model.nets.norm import statistics_kept
from foreframe.model.nets.recurrent import LSTM, FixedPrior, Gaussian, GaussianLSTM, State
from foreframe.model.spans import Span, repeat


class Memory(NamedTuple):
    """The recurrent state between two steps; None is the start of a sequence."""

    predictor: State | None = None
    prior: State | None = None


class Observed(NamedTuple):
    """What the known frames say, computed once for all samples.

    Attributes:
        h: the encoded frames.
        q: the posterior of z_1 .. z_{known-1}; None if only one frame is known.
        contexts: the decoder's, with the skips of each given frame that they are taken from; the
            last one's are frozen.
        frames: the known frames.
        n_past: how many of them are given ones.
    """

    h: Float[Tensor, "known batch g"]
    q: Gaussian | None
    contexts: list[DecoderContext]
    frames: Float[Tensor, "known batch 3 height width"]
    n_past: int

    def repeated(self, samples: int) -> "Observed":
        """The same for K samples of each sequence (sample index fastest); contexts are shared."""
        if samples == 1:
            return self
        return self._replace(
            h=repeat(self.h, samples),
            q=None if self.q is None else self.q.repeat(samples),
            frames=repeat(self.frames, samples),
        )

    def context(self, step: int) -> DecoderContext:
        """The context with the skips that serve the step i - 1."""
        return self.contexts[min(step, len(self.contexts) - 1)]

    def sources(self, steps: slice) -> "Sources":
        """What a blend of the steps i - 1 copies from, the frames before them being known."""
        last = torch.arange(steps.start, steps.stop).clamp(max=self.n_past - 1)
        return Sources(self.frames[steps], self.frames[last])


class Sources(NamedTuple):
    """Frames that a blend copies from.

    Attributes:
        before: the frame before each predicted one; or only that before the first, where the others
            are predicted in the same go.
        past: the last given frame that each has behind it; one, if all have the same.
    """

    before: Float[Tensor, "some_steps batch 3 height width"]
    past: Float[Tensor, "some_steps batch 3 height width"]


class Prediction(NamedTuple):
    """What a span of steps yields.

    Attributes:
        x_pred: the frames; None where they were not asked for.
        h_pred: the same as features.
        p: the prior of each z.
        memory: the state after the last step.
    """

    x_pred: Float[Tensor, "steps batch 3 height width"] | None
    h_pred: Float[Tensor, "steps batch g"]
    p: Gaussian
    memory: Memory


class Recurrence(Imagines):
    """The networks of a conditional VAE over video, and how they are unrolled over time.

    Args:
        config: the model's configuration.

    Raises:
        ForeframeError: a width or size in ``config`` has no meaning.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        c = config
        drawn = DRAWN if c.output == "blend" else 3
        self.encoder, self.decoder = NETS[c.net](c.g_dim, c.width, drawn)
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
        self._register_statistics()
        # Convolutions run faster on the CPU and on GPUs with the channels innermost.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    # -- what is known --------------------------------------------------------------------------

    def observe(
        self,
        frames: Float[Tensor, "known batch 3 height width"],
        n_past: int,
        *,
        recompute: bool = False,
    ) -> Observed:
        """Encode the known frames, each once: all T in training, the given ones in generation.

        Args:
            frames: in [0, 1], time first.
            n_past: number of given frames.
            recompute: keep no activations for the backward pass; see ``CVAE.forward``.
        """
        # The skips of frame n_past - 1 are the last that are not themselves of the future.
        last_skip = n_past if self.config.skips_from == "last-past" else n_past - 1
        # Frames whose skips are used go one by one, the rest at once.
        at_once = 1 if recompute else max(1, len(frames) - last_skip)
        parts: list[Tensor] = []
        contexts: list[DecoderContext] = []
        for frame in frames[:last_skip]:
            h, skips = self._encode(frame, 1, recompute)
            parts.append(h[None])
            contexts.append(self.decoder.context(skips, contexts[-1] if contexts else None))
        for rest in frames[last_skip:].split(at_once):
            if len(rest) > 0:
                h, _ = self._encode(rest.flatten(0, 1), len(rest), recompute)
                parts.append(h.unflatten(0, rest.shape[:2]))
        h = torch.cat(parts)
        q = self.posterior(h[1:])[0] if len(h) > 1 else None
        return Observed(h, q, contexts, frames, n_past)

    # -- one step, or several whose inputs are known ----------------------------------------------

    def predict(
        self,
        h: Float[Tensor, "steps batch g"],
        condition: Float[Tensor, "steps batch condition"] | None,
        memory: Memory,
        noise: Float[Tensor, "steps batch z"],
        context: DecoderContext,
        sources: Sources | None,
        *,
        q: Gaussian | None = None,
        z: Float[Tensor, "steps batch z"] | None = None,
        draw: bool = True,
        recompute: bool = False,
    ) -> Prediction:
        """Advance, draw z and decode: h_i-1, c_i and z_i to x_pred_i.

        Args:
            h: the encoded frames before.
            condition: as ``condition`` yields it.
            memory: the state before.
            noise: from N(0, I), the randomness of z.
            context: of the decoder; of B sequences, or of B / K that K samples each share.
            sources: what a blend copies from; None for a decoder that draws whole frames.
            q: what z is drawn from; by default the prior.
            z: the latent itself, instead of a draw.
            draw: whether the frames are asked for.
            recompute: keep no activations for the backward pass.
        """
        p, prior_state = self.prior(h, memory.prior)
        if z is None:
            z = (p if q is None else q).sample(noise)
        inputs = [h, z] if condition is None else [condition, h, z]
        h_pred, state = self.frame_predictor(torch.cat(inputs, -1), memory.predictor)
        x_pred = self._decode(h_pred, context, sources, recompute) if draw else None
        return Prediction(x_pred, h_pred, p, Memory(state, prior_state))

    def _encode(self, x: Tensor, steps: int, recompute: bool) -> tuple[Tensor, Skips]:
        if not recompute:
            return self.encoder(x, steps)
        return checkpoint(self.encoder, x, steps, use_reentrant=False, context_fn=_once_more)

    def _decode(
        self, h_pred: Tensor, context: DecoderContext, sources: Sources | None, recompute: bool
    ) -> Tensor:
        """[steps, B, g_dim] to frames [steps, B, 3, H, W] in [0, 1]."""
        inputs = (h_pred.flatten(0, 1), context, len(h_pred), sources)
        if recompute:
            x_pred = checkpoint(self._draw, *inputs, use_reentrant=False, context_fn=_once_more)
        else:
            x_pred = self._draw(*inputs)
        return x_pred.unflatten(0, h_pred.shape[:2])

    def _draw(
        self, h: Tensor, context: DecoderContext, steps: int, sources: Sources | None
    ) -> Tensor:
        drawn = self.decoder(h, context, steps)
        if sources is None:
            return drawn
        if len(sources.before) == steps:
            return blend(drawn, sources.before.flatten(0, 1), sources.past.flatten(0, 1))
        # The frames before are themselves among those that are drawn here.
        frames = [sources.before[0]]
        for one in drawn.unflatten(0, (steps, -1)):
            frames.append(blend(one, frames[-1], sources.past[0]))
        return torch.cat(frames[1:])

    # -- many steps -------------------------------------------------------------------------------

    def unroll(
        self,
        observed: Observed,
        condition: Float[Tensor, "steps batch condition"] | None,
        noise: Float[Tensor, "steps batch_samples z"],
        *,
        n_past: int,
        teacher_forcing: bool = False,
        z_from_posterior: bool = True,
        first: int = 1,
        recompute: bool = False,
    ) -> Iterator[Span]:
        """Predict frames ``first`` .. T-1, T - 1 being the length of ``noise``, span by span.

        A span is one step, or all those that need nothing from one another: in teacher forcing, the
        inputs being known, all that come after the past; in latent space, whose frames are decoded
        together, likewise. Nothing of a span is kept here but its last frame and the state.

        Args:
            observed: of ``observe``.
            condition: of ``condition``, for T - 1 steps.
            noise: [T-1, B * K, z_dim] from N(0, I), the randomness of z, for K samples of each
                sequence (sample index fastest).
            n_past: number of given frames.
            teacher_forcing: feed the true frame i - 1 in, not the prediction, after the past too.
            z_from_posterior: draw every z from the posterior; else only those of known past frames
                (i < n_past), and from the prior afterwards.
            first: frames before this one are not decoded, and their spans left out.
            recompute: keep no activations for the backward pass; see ``CVAE.forward``.
        """
        observed = observed.repeated(noise.shape[1] // observed.h.shape[1])
        if condition is not None:
            condition = repeat(condition, noise.shape[1] // condition.shape[1])
        steps, last_skip = len(noise), len(observed.contexts)
        known = steps if teacher_forcing else n_past
        blends = self.config.output == "blend"
        made = Prediction(None, observed.h[:0], Gaussian(noise, noise), Memory())

        def predict(
            now: slice, h: Tensor, memory: Memory, sources: Sources | None, draw: bool
        ) -> Prediction:
            q = observed.q if z_from_posterior or now.stop < n_past else None
            return self.predict(
                h,
                None if condition is None else condition[now],
                memory,
                noise[now],
                observed.context(now.start),
                sources,
                q=None if q is None else q[now],
                draw=draw,
                recompute=recompute,
            )

        i = 1
        while i <= known:
            together = last_skip < i and not recompute
            now = slice(i - 1, known if together else i)
            sources = observed.sources(now) if blends else None
            made = predict(now, observed.h[now], made.memory, sources, now.stop >= first)
            i = now.stop + 1
            if made.x_pred is not None:
                yield Span(made.x_pred, made.p)
        if i <= steps:
            beyond = self._in_latent if self.config.recurrence == "latent" else self._through_pixels
            yield from beyond(predict, range(i, steps + 1), made, observed, recompute)

    def _through_pixels(
        self,
        predict: "_Predict",
        steps: range,
        made: Prediction,
        observed: Observed,
        recompute: bool,
    ) -> Iterator[Span]:
        """Each prediction is encoded again and fed back: Denton & Fergus 2018, section 3."""
        for i in steps:
            assert made.x_pred is not None
            h, _ = self._encode(made.x_pred[-1], 1, recompute)
            sources = self._fed_back(made, observed)
            made = predict(slice(i - 1, i), h[None], made.memory, sources, True)
            assert made.x_pred is not None
            yield Span(made.x_pred, made.p)

    def _in_latent(
        self,
        predict: "_Predict",
        steps: range,
        made: Prediction,
        observed: Observed,
        recompute: bool,
    ) -> Iterator[Span]:
        """h_pred itself is fed back, and all frames are decoded together.

        What is learnt one step ahead is used as it stands ten steps ahead: there is no picture in
        between whose errors add up. Source: the open-loop rollout of recurrent state-space models
        (Hafner et al. 2019, PlaNet, section 2.2).
        """
        sources = self._fed_back(made, observed)
        parts: list[Prediction] = []
        for i in steps:
            made = predict(slice(i - 1, i), made.h_pred[-1:], made.memory, None, False)
            parts.append(made)
        h_pred = torch.cat([part.h_pred for part in parts])
        x_pred = self._decode(h_pred, observed.contexts[-1], sources, recompute)
        yield Span(x_pred, Gaussian.join([part.p for part in parts]))

    def _fed_back(self, made: Prediction, observed: Observed) -> Sources | None:
        """What a blend copies from after a prediction."""
        if self.config.output != "blend":
            return None
        last = observed.frames[observed.n_past - 1 : observed.n_past]
        return Sources(last if made.x_pred is None else made.x_pred[-1:], last)


_Predict = Callable[[slice, Tensor, Memory, Sources | None, bool], Prediction]
"""Of which steps, from which h and state, copying from where, and whether frames are asked for."""


def _once_more() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """The contexts of a checkpointed part's two runs: the second must not be counted again."""
    return nullcontext(), statistics_kept()
