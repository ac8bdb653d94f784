"""VideoCVAE: the model together with where its weights come from and how they are shared."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin

from foreframe.config.model import ModelConfig
from foreframe.config.plain import from_dict
from foreframe.errors import ForeframeError
from foreframe.model.cvae import CVAE
from foreframe.model.imagines import Imagines
from foreframe.model.inputs import Array, given
from foreframe.model.places.cvae import PlacesCVAE
from foreframe.runs.folder import BEST, MODEL_CONFIG, has_limit
from foreframe.runs.futures import Futures
from foreframe.runs.model_card import TAGS, model_card
from foreframe.runs.shipped import names, run_folder, shipped
from foreframe.runs.weights import (
    load_into,
    local_or_hub,
    may_be_on_hub,
    read_tensors,
    write_tensors,
)
from foreframe.system.files import read_json


class VideoCVAE(Imagines, PyTorchModelHubMixin, library_name="foreframe", tags=TAGS):
    """A conditional VAE over video: SVG's, or one with places, as ``config.net`` says.

    Args:
        config: the model's configuration.

    Raises:
        ForeframeError: a width or size in ``config`` has no meaning.
    """

    def __new__(cls, config: ModelConfig | None = None) -> "VideoCVAE":
        """A model of the kind that ``config.net`` names; copies are made without ``config``."""
        if config is None:
            return super().__new__(cls)
        kind = cls
        if cls is VideoCVAE:
            kind = PlacesVideoCVAE if config.net == "places64" else SVGVideoCVAE
        return super().__new__(kind, config)

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self._loaded_from: Path | None = None

    def generate(
        self, past: Array, actions: Array | None = None, positions: Array | None = None, **more: Any
    ) -> Futures:
        """Imagine futures, as ``Imagines.generate`` does; what it returns can also show itself.

        Args:
            past: the given frames.
            actions: one row a frame.
            positions: one row a frame.
            more: n_samples, n_future, noise and generator, as in ``Imagines.generate``.

        Returns:
            the frames, a tensor with ``gif`` and ``show``.

        Raises:
            ForeframeError: see ``Imagines.generate``.
        """
        frames = super().generate(past, actions, positions, **more)
        seen = given(past, None, None, self.config.frame_size)
        return Futures.of(frames, seen.past[0] if seen.single else seen.past)

    # -- shared ---------------------------------------------------------------------------------

    def generate_model_card(self, *args: Any, repo_id: str | None = None, **more: Any) -> ModelCard:
        """The README that goes with the weights: what they are, and what they were scored.

        Scores are those of the run's evaluation.json, if these are still the weights it was of.
        """
        text = model_card(
            self.config,
            parameters=sum(parameter.numel() for parameter in self.parameters()),
            repo_id=repo_id,
            evaluation=_scores(self, self._loaded_from),
        )
        return ModelCard(text)

    def push_to_hub(self, repo_id: str, **more: Any) -> str:
        """Share the weights, their configuration and a card of them on the Hub.

        Args:
            repo_id: owner/name there.
            more: options of ``PyTorchModelHubMixin.push_to_hub``: token, private, branch, ...
        """
        kwargs = {"repo_id": repo_id, **(more.pop("model_card_kwargs", None) or {})}
        url: str = super().push_to_hub(repo_id, model_card_kwargs=kwargs, **more)
        return url

    # -- weights --------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, name: str | Path, *, hub: bool | None = None, **options: Any
    ) -> "VideoCVAE":
        """The trained model of a run folder, one that comes with the package, or one on the Hub.

        Args:
            name: a run's folder; or, if no folder of that name is there, a model that comes with
                the package (``push``), or owner/model on the Hub.
            hub: True asks the Hub whatever ``name`` looks like, False never does. By default a name
                that can only be a path (a ``Path``, ``./x``, ``a/b/c``, or one that begins with a
                folder that is there) is looked for on this machine alone.
            options: of ``PyTorchModelHubMixin.from_pretrained``: revision, token, map_location, ...

        Raises:
            ForeframeError: nothing of that name is there, or it is damaged.
        """
        if hub is None:
            hub = may_be_on_hub(name)
        if not hub and not Path(name).is_dir():
            packed = shipped(str(name))
            if packed is None:
                known = ", ".join(names()) or "none"
                raise ForeframeError(
                    f"{name}: no such folder. Give the folder of a run (runs/demo), a model that "
                    f"comes with foreframe ({known}), or a name on the Hub (owner/model)."
                )
            name = packed
        model: VideoCVAE = super().from_pretrained(str(name), **options)
        return model

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
        values = read_json(config_file)
        if not isinstance(values, dict):
            raise ForeframeError(
                f"{config_file}: is not the configuration of a model. Restore it from a copy."
            )
        model = cls(from_dict(ModelConfig, values, str(config_file)))
        load_into(model, read_tensors(weights_file)[0], weights_file)
        model._loaded_from = weights_file
        return model.to(map_location).eval()

    def _save_pretrained(self, save_directory: Path) -> None:
        # Sealed, as all weights that foreframe writes; the mixin writes the configuration.
        write_tensors(save_directory / BEST, self.state_dict())


class SVGVideoCVAE(VideoCVAE, CVAE, library_name="foreframe", tags=TAGS):
    """SVG's networks: one latent z_t per step (Denton & Fergus 2018)."""


class PlacesVideoCVAE(VideoCVAE, PlacesCVAE, library_name="foreframe", tags=TAGS):
    """A state with places: an arm, a scene that it touches, one latent per episode."""


def load_model(run: Path, device: torch.device | str = "cpu") -> VideoCVAE:
    """The best model of a run folder, ready to predict.

    Raises:
        ForeframeError: not a run folder, or its weights are damaged or of another configuration.
    """
    run = run_folder(run)
    for name in (MODEL_CONFIG, BEST):
        if not (run / name).is_file():
            there = "the folder does not exist" if not run.exists() else "the folder has none"
            raise ForeframeError(
                f"{run / name}: a trained run is needed here and {there}. "
                "Train one with: foreframe train RECIPE --data DIR --out RUN."
            )
    if not isinstance(read_json(run / MODEL_CONFIG), dict):
        raise ForeframeError(
            f"{run / MODEL_CONFIG}: is not the configuration of a model. Restore it from a copy."
        )
    return VideoCVAE.from_pretrained(run).to(device)


def _scores(model: VideoCVAE, weights: Path | None) -> dict[str, Any] | None:
    """The result card that lies beside the weights' file, if it is of what the model is now."""
    if weights is None:
        return None
    try:
        card: dict[str, Any] = json.loads(
            weights.with_name("evaluation.json").read_text(encoding="utf-8")
        )
        if card.get("partial", has_limit(card["command"])):  # version 0.1 gave it the same name
            return None
        with open(weights, "rb") as file:
            if card["hashes"]["weights"] != hashlib.file_digest(file, "sha256").hexdigest():
                return None
        saved = read_tensors(weights)[0]
    except (OSError, ValueError, KeyError, TypeError, ForeframeError):
        return None
    own = model.state_dict()
    same = all(torch.equal(own[name].cpu(), value) for name, value in saved.items())
    return card if same else None
