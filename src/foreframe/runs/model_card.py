"""The README of a model that is shared: what it is, what it was scored, how to use it."""

from collections.abc import Mapping
from typing import Any

from huggingface_hub import ModelCardData

from foreframe.config.model import ModelConfig

TAGS = ["video-prediction", "world-model", "robotics"]


def model_card(
    config: ModelConfig,
    *,
    parameters: int,
    repo_id: str | None = None,
    evaluation: Mapping[str, Any] | None = None,
) -> str:
    """The card in Markdown, with the front matter that the Hub reads.

    Args:
        config: of the model.
        parameters: how many it has.
        repo_id: owner/name on the Hub.
        evaluation: a result card (evaluation.json) of these very weights, if there is one.
    """
    name = repo_id or "PATH"
    front = ModelCardData(library_name="foreframe", pipeline_tag="robotics", tags=TAGS).to_yaml()
    latent, parts = _parts(config)
    height, width = config.frame_size
    inputs = [f"`past` [B, n_past, 3, {height}, {width}]"]
    if config.uses_actions:
        inputs.append(f"`actions` [B, n_past + n_future, {config.action_dim}]")
    if config.uses_positions:
        inputs.append(f"`positions` [B, n_past + n_future, {config.position_dim}]")
    arguments = ", ".join(part.split("`")[1] for part in inputs)
    return f"""---
{front}
---

# {name.rsplit("/", 1)[-1]}

A conditional VAE over video ({_KINDS[config.latent_of_episode]}) that predicts the next frames of
{width}x{height} pixels from given ones{_condition(config)}.
Made with foreframe.

```python
from foreframe import VideoCVAE

model = VideoCVAE.from_pretrained("{name}")
futures = model.generate({arguments}, n_samples=8)
```

{"; ".join(inputs)}: frames uint8 or float in [0, 1], a row of the others for each frame
(row t acts between frame t and t + 1). `futures` is [B, 8, n_future, 3, {height}, {width}] in
[0, 1].

| | |
| --- | --- |
| nets | {config.net}, width {config.width:g}, g {config.g_dim}, {parts} |
| latent | {latent} |
| condition | {config.condition_name} |
{_drawn(config)}| parameters | {parameters:,} |

{_scores(evaluation)}
## What it is not

It imagines what its training data made likely. Use it to study or to plan in simulation, not as the
only guard of a machine that can hurt somebody.
"""


_KINDS = ("SVG, Denton & Fergus 2018", "foreframe's state with places")


def _parts(config: ModelConfig) -> tuple[str, str]:
    """The latent and the parts of the model, in words."""
    if config.latent_of_episode:
        latent = f"{config.z_dim} numbers an episode, a learned prior"
        return latent, f"a scene of {config.rnn_size} channels, {config.things} things"
    prior = "a fixed prior N(0, I)" if config.prior == "fixed" else "a learned prior"
    return f"{config.z_dim} numbers a step, {prior}", f"LSTMs of {config.rnn_size}"


def _drawn(config: ModelConfig) -> str:
    """A line of the table on how frames are drawn, where there is a choice."""
    if config.latent_of_episode:
        return ""
    return f"| skips, output | {config.skips_from}, {config.output} |\n"


def _condition(config: ModelConfig) -> str:
    if config.condition == "none":
        return ", without a condition"
    parts = []
    if config.uses_actions:
        parts.append(f"{config.action_dim} numbers of action")
    if config.uses_positions:
        parts.append(f"{config.position_dim} of the end effector's position")
    return f" and, at each step, {' and '.join(parts)}"


def _scores(card: Mapping[str, Any] | None) -> str:
    if card is None:
        return "These weights come without scores.\n"
    protocol = card["protocol"]
    lines = [
        "## Scores",
        "",
        f"Protocol {protocol['name']}: {protocol['n_past']} given, {protocol['n_future']} "
        f"predicted frames, {protocol['samples']} sample(s), {protocol['sequences']} "
        f"{protocol['split']} sequences of `{card['data']}`.",
        "",
        "| prediction | condition | PSNR, dB | SSIM |",
        "| --- | --- | ---: | ---: |",
        *(
            f"| {row['label']} | {row['condition']} | {row['psnr']:.2f} | {row['ssim']:.3f} |"
            for row in card["rows"]
            if "psnr" in row and "ssim" in row
        ),
        "",
        f"PSNR: {protocol['psnr']}.",
        "",
        f"By `{card['command']}`, foreframe {card['foreframe']}; SHA-256 of the data "
        f"`{card['hashes']['data'][:16]}`.",
        "",
    ]
    return "\n".join(lines)
