"""What every method must pass, whatever its family; tests/methods/test_contract.py applies it to each."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import torch

from salience import catalogue
from salience.batch import Progress
from salience.data import Dataset, open_data
from salience.methods import ClosedForm, Context, Method, method_class
from salience.methods.adversarial import Adversarial
from salience.representation import Representation, options_of
from salience.run import Run
from salience.run_weights import save_weights
from salience.training import fit
from salience.units import AUTO

ROWS, SIZE, CLASSES = 96, 8, 3
QUICK: dict[str, Any] = {"epochs": 3, "batch_size": 32, "progress": False}
SLOW = {"moco": 20, "crvae": 15}  # epochs of those whose loss is mostly the luck of their views
DRAWS = 8


COLOUR = ("cmc",)  # methods that need it


def structured_images(seed: int = 0, *, colour: bool = False, labelled: bool = False) -> Dataset:
    """Three kinds of stripes with noise: what is easy to tell apart, for any method worth its name.

    colour: stripes of three colours as well, so that chroma alone tells the kinds apart, as luminance alone does
    labelled: all but every eighth
    """
    generator = np.random.default_rng(seed)
    labels = np.arange(ROWS) % CLASSES
    rows, columns = np.mgrid[:SIZE, :SIZE]
    patterns = np.stack([rows % 2, columns % 2, (rows + columns) // 2 % 2]) * 160 + 40
    noise = generator.normal(0, 20, (ROWS, SIZE, SIZE))
    images = patterns[labels] + noise
    if colour:
        images = images[:, None] + np.eye(3)[labels][:, :, None, None] * 60
    images = np.clip(images, 0, 255).astype(np.uint8)
    known = [int(label) if row % 8 else None for row, label in enumerate(labels)] if labelled else None
    return open_data(images, labels=known, progress=False)


def dataset_for(name: str) -> Dataset:
    """Structured images that this method can learn from."""
    labelled = getattr(method_class(name), "needs_labels", False)
    return structured_images(colour=name in COLOUR, labelled=labelled)


def structured_labels() -> np.ndarray:
    return np.arange(ROWS) % CLASSES


def build(name: str, dataset: Dataset, *, encoder: str | None = None, **options: Any) -> Method | ClosedForm:
    torch.manual_seed(0)
    return method_class(name).build(Context(dataset.spec, len(dataset), encoder), **options)


def fitted(name: str, out: Path, **settings: Any) -> Representation:
    quick = QUICK if catalogue.find(name).kind != "ClosedForm" else {"progress": False}
    return fit(name, dataset_for(name), out=out, **{**quick, **settings})


def other_value(option: catalogue.Option) -> Any:
    """A value of the option that is not its default."""
    if option.choices:
        return next(choice for choice in option.choices if choice != option.default)
    if option.type == "bool":
        return not option.default
    if option.name == "weights":
        return "published"
    if option.type == "str":
        return "mlp"  # texts name networks, so far
    if option.default == AUTO:
        return option.check(8 if option.type == "int" else 0.5)
    return option.check(option.default / 2 if option.type == "float" else option.default // 2 + 1)


def check_options_are_attributes(name: str) -> None:
    """Each hyper-parameter is kept under its own name, as it was given, so that a run can record it."""
    given = {option.name: other_value(option) for option in catalogue.find(name).options}
    method = build(name, dataset_for(name), **given)
    signature = inspect.signature(type(method).__init__)
    keywords = [p.name for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert list(given) == keywords
    assert options_of(method, name) == given


def check_rebuilds_from_its_options(name: str) -> None:
    dataset = dataset_for(name)
    method = build(name, dataset)
    twin = build(name, dataset, **options_of(method, name))
    assert {k: v.shape for k, v in method.state_dict().items()} == {k: v.shape for k, v in twin.state_dict().items()}


def check_embeds_alike_in_any_company(rep: Representation) -> None:
    """[n d], finite, and the same to the bit whatever stands beside an item."""
    dataset = dataset_for(rep.method_name)
    whole = rep.embed(dataset)
    assert whole.shape == (ROWS, rep.dim)
    assert np.isfinite(whole).all()
    order = np.random.default_rng(0).permutation(ROWS)
    np.testing.assert_array_equal(rep.embed(dataset.subset(order)), whole[order])
    np.testing.assert_array_equal(rep.embed(dataset.subset([5])), whole[[5]])


def check_gradients_reach_what_is_trained(name: str) -> None:
    dataset = dataset_for(name)
    method = build(name, dataset)
    assert isinstance(method, Method)
    for _, at in method.phases():
        for loss in method.losses(dataset.batch(np.arange(32)), at):
            assert loss.ndim == 0
            loss.backward()
    for parameter_name, parameter in method.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, parameter_name


def check_round_trip(rep: Representation, tmp_path: Path) -> None:
    from salience.representation import load

    assert rep.run is not None
    dataset = dataset_for(rep.method_name)
    np.testing.assert_array_equal(load(rep.run).embed(dataset), rep.embed(dataset))
    save_weights(rep.method, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == Run(rep.run).weights.read_bytes()


def check_same_seed_same_weights(rep: Representation, tmp_path: Path) -> None:
    other = fitted(rep.method_name, tmp_path / "other")
    assert rep.run is not None
    assert other.run is not None
    assert Run(rep.run).weights.read_bytes() == Run(other.run).weights.read_bytes()


def check_training_lowers_the_loss(rep: Representation) -> None:
    """On the same views, against the same method before training, with the same buffers: a queue is part of the task.

    By more than four standard errors, over the views that several epochs would draw.
    """
    dataset = dataset_for(rep.method_name)
    fresh = build(rep.method_name, dataset)
    fresh.load_state_dict(dict(rep.method.named_buffers()), strict=False)
    batch = dataset.batch(np.arange(ROWS))
    assert isinstance(rep.method, Method)
    assert isinstance(fresh, Method)
    falls = []
    for epoch in range(DRAWS):
        at = Progress(total=10, epoch=epoch, seed=1)
        with torch.no_grad():
            before, after = (method.train().yardstick(batch, at) for method in (fresh, rep.method))
        if before is None or after is None:
            assert isinstance(rep.method, Adversarial)  # whose players' losses tell nothing; the method's own tests do
            break
        falls.append(float(before) - float(after))
    rep.method.eval()
    assert not falls or np.mean(falls) > 4 * np.std(falls, ddof=1) / DRAWS**0.5


def check_tells_classes_apart(rep: Representation) -> None:
    """Leave-one-out 1-nearest-neighbour accuracy, far above the chance of 1 in 3."""
    codes, labels = torch.from_numpy(rep.embed(dataset_for(rep.method_name))), structured_labels()
    distances = torch.cdist(codes, codes).fill_diagonal_(torch.inf)
    nearest = labels[distances.argmin(dim=1).numpy()]
    assert (nearest == labels).mean() > 0.6
