"""Encoders of texts: no item depends on its batch, dropout comes from keys, published networks load as they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import salience
from salience.batch import Batch, Progress
from salience.data import Dataset, open_data
from salience.errors import UserError
from salience.modalities.text.transformer import DROPPED, KeyedDropout
from salience.nets import Encoder, make_encoder
from salience.reading import Reading
from salience.views import Views
from salience.views.random import Keys


@pytest.fixture(scope="module")
def data(corpus: tuple[list[str], list[str]]) -> Dataset:
    return open_data(corpus[0], labels=corpus[1], progress=False)


@pytest.fixture(scope="module")
def encoder(data: Dataset) -> Encoder:
    torch.manual_seed(0)
    return make_encoder("transformer", data.spec).eval()


def encoded(encoder: Encoder, batch: Batch) -> torch.Tensor:
    with torch.no_grad():
        return encoder(encoder.input.unit(batch.x), batch.mask)


def test_a_text_does_not_depend_on_its_batch(encoder: Encoder, data: Dataset) -> None:
    together = encoded(encoder, data.batch(np.arange(32)))
    for row in (0, 5, 31):
        torch.testing.assert_close(
            encoded(encoder, data.batch(np.array([row])))[0], together[row], rtol=1e-5, atol=1e-5
        )
    assert together.std(dim=0).mean() > 0.01


def test_order_matters_and_padding_does_not(encoder: Encoder, data: Dataset) -> None:
    batch = data.batch(np.array([3]))
    length = len(data.item(3))
    assert batch.mask is not None
    longer = torch.nn.functional.pad(batch.x, (0, 40))
    mask = torch.nn.functional.pad(batch.mask, (0, 40))
    a, b = encoder(batch.x, batch.mask), encoder(longer, mask)
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    turned = batch.x.clone()
    turned[0, :length] = batch.x[0, :length].flip(0)
    assert (encoder(turned, batch.mask) - a).abs().max() > 1e-3


def test_dropout_is_drawn_from_keys(encoder: Encoder, data: Dataset) -> None:
    views = Views("dropout", data.spec)
    batch = data.batch(np.arange(8))
    with torch.no_grad():
        a, b = (encoder(view.x, view.mask) for view in views(batch, Progress(seed=1))["global"])
        torch.manual_seed(99)
        again = encoder(*(lambda view: (view.x, view.mask))(views.one(batch, Progress(seed=1))))
        other = encoder(*(lambda view: (view.x, view.mask))(views.one(batch, Progress(seed=1, epoch=1))))
    assert torch.equal(a, again)
    for different in (b, other, encoded(encoder, batch)):
        assert (different - a).abs().max() > 1e-3
    alone = views.one(data.batch(np.array([5])), Progress(seed=1))
    torch.testing.assert_close(encoder(alone.x, alone.mask)[0], a[5], rtol=1e-4, atol=1e-5)


def test_values_are_dropped_with_their_probability() -> None:
    layer = KeyedDropout("here")
    layer.state = Keys.of(0, 0, torch.arange(64)).settled()
    x = layer(torch.ones(64, 32, 128))
    assert abs(float((x == 0).float().mean()) - DROPPED) < 0.003
    assert abs(float(x.mean()) - 1) < 0.004
    other = KeyedDropout("there")
    other.state = layer.state
    assert not torch.equal(other(torch.ones(64, 32, 128)), x)
    layer.state = None
    assert torch.equal(layer(x), x)


def test_unknown_encoders_are_refused(data: Dataset) -> None:
    with pytest.raises(UserError, match="encoder"):
        make_encoder("convnet", data.spec)
    with pytest.raises(UserError, match="vectors"):
        salience.fit("autoencoder", data, encoder="transformer", epochs=1, progress=False)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, corpus: tuple[list[str], list[str]]) -> Path:
    """A tiny published network with its tokenizer."""
    import tokenizers
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("published") / "tiny"
    words = sorted({word for text in corpus[0] for word in text.strip(".").split()})
    vocabulary = {word: at for at, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_a_published_network_gives_its_own_embeddings(published: Path, corpus: tuple[list[str], list[str]]) -> None:
    import tokenizers
    from transformers import BertModel

    name = f"hf:{published}"
    data = open_data(corpus[0], reading=Reading(tokenizer=name), progress=False)
    encoder = make_encoder(name, data.spec).eval()
    found = encoded(encoder, data.batch(np.arange(6)))
    network = BertModel.from_pretrained(published).eval()
    tokenizer = tokenizers.Tokenizer.from_file(str(published / "tokenizer.json"))
    for row in range(6):
        ids = torch.tensor([tokenizer.encode(corpus[0][row]).ids])
        with torch.no_grad():
            expected = network(input_ids=ids).last_hidden_state.mean(dim=1)[0]
        torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-5)


def test_a_published_network_needs_its_tokenizer_and_safetensors(
    published: Path, corpus: tuple[list[str], list[str]], data: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="--tokenizer"):
        make_encoder(str(published), data.spec)
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((published / name).read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    other = open_data(corpus[0], reading=Reading(tokenizer=str(tmp_path)), progress=False)
    with pytest.raises(UserError, match="safetensors"):
        make_encoder(str(tmp_path), other.spec)
    with pytest.raises(UserError, match="hf download"):
        open_data(corpus[0], reading=Reading(tokenizer="hf:nobody/nothing"), progress=False)


def test_a_run_of_a_published_network_needs_its_folder_no_more(
    published: Path, corpus: tuple[list[str], list[str]], tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    published.rename(copy)
    try:
        out = tmp_path / "run"
        run = salience.fit(
            "simclr", corpus[0], encoder=str(copy), reading=Reading(tokenizer=str(copy)), out=out, epochs=1,
            batch_size=32, progress=False,
        )  # fmt: skip
        expected = run.embed(corpus[0][:5])
    finally:
        copy.rename(published)
    assert json.loads((out / "vocabulary.json").read_text())["kind"] == "published"
    np.testing.assert_array_equal(salience.load(out).embed(corpus[0][:5]), expected)
