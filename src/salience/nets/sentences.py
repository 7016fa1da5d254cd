"""Published sentence encoders: a folder of transformers, with its tokenizer and mean pooling.

Reimers and Gurevych 2019, "Sentence-BERT", https://arxiv.org/abs/1908.10084: the embedding of a text is the mean of the
vectors of its real tokens, divided by its length where the folder asks for it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from salience.errors import MissingPackage, UserError

NEEDED = ("config.json", "tokenizer.json")
POOLING = "pooling_mode_mean_tokens"


def mean_of_tokens(tokens: Tensor, mask: Tensor) -> Tensor:
    """Average the vectors of real tokens.  tokens: [n t d], mask: [n t] -> [n d]"""
    weight = mask.to(tokens.dtype)[..., None]
    return (tokens * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1e-9)


class SentenceEncoder(nn.Module):
    """A published transformer that embeds texts.

    Args:
        network: The transformer.
        tokenizer: Its tokenizer.
        longest: Number of tokens after which a text is cut.
        unit_length: Whether embeddings have length 1.
    """

    def __init__(self, network: Any, tokenizer: Any, *, longest: int, unit_length: bool) -> None:
        super().__init__()
        self.network = network
        self.tokenizer = tokenizer
        self.longest = longest
        self.unit_length = unit_length
        self.dim: int = network.config.hidden_size

    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Convert texts to token numbers and the mask of real tokens.  -> [n t] int64, [n t] bool"""
        made = self.tokenizer(list(texts), padding=True, truncation=True, max_length=self.longest, return_tensors="pt")
        return made["input_ids"], made["attention_mask"].bool()

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Embed token numbers.  tokens: [n t] int64, mask: [n t] bool -> [n d]"""
        found = mean_of_tokens(self.network(input_ids=tokens, attention_mask=mask.long()).last_hidden_state, mask)
        return F.normalize(found, dim=1) if self.unit_length else found


def load_sentence_encoder(folder: Path | str) -> SentenceEncoder:
    """Load a sentence encoder from a local folder. Weights are read from safetensors, and no code of the folder is run.

    Raises:
        UserError: The folder lacks a file, or pools in another way.
        MissingPackage: transformers is not installed.
    """
    path = Path(folder).expanduser()
    missing = [name for name in NEEDED if not (path / name).is_file()]
    if missing:
        raise UserError(f"encoder: {path} has no {missing[0]}; give the folder of a published sentence encoder")
    try:
        from transformers import AutoModel, AutoTokenizer
    except ImportError as error:
        message = f"encoder: {path} needs transformers; install it with pip install 'salience[text]'"
        raise MissingPackage(message) from error
    pooling = _json(path / "1_Pooling" / "config.json", {POOLING: True})
    if not pooling.get(POOLING):
        chosen = next((name for name, on in pooling.items() if on is True), "none")
        raise UserError(f"encoder: {path} pools by {chosen}; only the mean of tokens is supported")
    steps = _json(path / "modules.json", [])
    try:
        network = AutoModel.from_pretrained(
            path, local_files_only=True, trust_remote_code=False, use_safetensors=True, add_pooling_layer=False
        )
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, TypeError) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise UserError(f"encoder: {path} cannot be loaded ({reason}); download it again") from problem
    longest = _json(path / "sentence_bert_config.json", {}).get("max_seq_length") or tokenizer.model_max_length
    normalised = any(str(step.get("type", "")).endswith("Normalize") for step in steps)
    return SentenceEncoder(network.eval(), tokenizer, longest=min(longest, 8192), unit_length=normalised)


def _json(path: Path, otherwise: Any) -> Any:
    """Return what a JSON file holds, or `otherwise` if there is none."""
    if not path.is_file():
        return otherwise
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise UserError(f"encoder: {path} is no JSON file ({problem}); download it again") from None
