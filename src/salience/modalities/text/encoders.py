"""Encoders of texts by name: transformers of our own sizes, published ones, and dense layers on TF-IDF vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from salience.errors import UserError
from salience.modalities.text.input import Bag, TokenInput
from salience.modalities.text.spec import TextSpec
from salience.modalities.text.tokenizers import HUB, PUBLISHED, find_published
from salience.modalities.text.transformer import SIZES, Transformer, library, make_network
from salience.nets.dense import linear, mlp
from salience.nets.encoder import Encoder
from salience.nets.make import with_code
from salience.units import printable

DENSE = ("mlp", "linear")
OWN = (*SIZES, *DENSE)  # `gru` joins this list when the encoder for all ragged data is there


def make_encoder(name: str, spec: TextSpec, *, dim: int | None, fetch: bool) -> Encoder:
    """Make an encoder by name. Raises UserError for a name that texts do not have."""
    if name in DENSE:
        return _dense(name, spec, dim)
    if name in SIZES:
        network, width = make_network(name, spec.tokens, spec.longest)
        return Encoder(TokenInput(spec), Transformer(network, width, dim), dim or width)
    own = '"kind":"published"' in spec.vocabulary and json.loads(spec.vocabulary)["name"] == name
    if own or name.startswith(HUB) or (Path(name).expanduser() / "config.json").is_file():
        return _published(name, spec, dim, fetch=fetch)
    raise UserError(
        f"encoder: expected one of {', '.join(OWN)}, hf:NAME or a folder with config.json, got '{printable(name)}'"
    )


def _dense(name: str, spec: TextSpec, dim: int | None) -> Encoder:
    bag, width = Bag(spec), spec.modality.width(spec)
    if name == "linear":
        return Encoder(bag, *linear(width, dim or min(256, width)))
    return with_code(Encoder(bag, *mlp(width)), dim)


def _published(name: str, spec: TextSpec, dim: int | None, *, fetch: bool) -> Encoder:
    """Make a published network: with its weights, or with fresh ones for a run that brings its own."""
    kept = json.loads(spec.vocabulary)
    if kept["kind"] != PUBLISHED or kept["name"].removeprefix(HUB) != name.removeprefix(HUB):
        raise UserError(
            f"encoder: '{printable(name)}' reads tokens of its own tokenizer; use --tokenizer {printable(name)} too"
        )
    network = _with_weights(name) if fetch else _without_weights(kept["config"])
    config: Any = network.config
    width, longest = int(config.hidden_size), int(config.max_position_embeddings)
    body = Transformer(network, width, dim, first=1, longest=longest)
    return Encoder(TokenInput(spec), body, dim or width)


def _with_weights(name: str) -> nn.Module:
    folder = find_published(name, "encoder")
    hf = library()
    try:
        network: nn.Module = hf.AutoModel.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            attn_implementation="sdpa",
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"encoder: {printable(name)} cannot be loaded; expected a model of transformers with weights in "
            f"model.safetensors: {reason}"
        ) from error
    return _headless(network)


def _without_weights(config: dict[str, Any]) -> nn.Module:
    hf = library()
    known = {key: value for key, value in config.items() if key not in ("model_type", "auto_map")}
    made = hf.AutoConfig.for_model(config["model_type"], **known)
    network: nn.Module = hf.AutoModel.from_config(made, trust_remote_code=False, attn_implementation="sdpa")
    return _headless(network.float())


def _headless(network: nn.Module) -> nn.Module:
    """Remove the pooler, which only takes part in tasks with two sentences."""
    if getattr(network, "pooler", None) is not None:
        network.pooler = None  # type: ignore[assignment]
    for part in network.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    return network
