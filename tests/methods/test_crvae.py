"""CR-VAE: without contrast the VAE of the same views; with it InfoNCE of drawn codes; its queue and its teacher."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from salience.batch import Batch, Progress
from salience.methods.generative.crvae import CRVAE
from salience.methods.generative.vae import VAE, drawn, noise_of, posterior
from salience.methods.lightning import LightningMethod
from salience.nets import distance
from salience.nets.queue import queue_for
from tests import contract

AT = Progress(step=2, total=10, epoch=1, seed=3)


def built(**options: object) -> tuple[CRVAE, Batch]:
    """In float64, with fixed statistics, and some items."""
    dataset = contract.dataset_for("crvae")
    method = contract.build("crvae", dataset, encoder="mlp", dim=3, queue=6, **options).double().eval()
    assert isinstance(method, CRVAE)
    with torch.no_grad():
        for parameter in method.teacher_encoder.parameters():
            parameter.mul_(0.9)  # as if it had fallen behind
    return method, dataset.batch(np.arange(5))


def vae_of(method: CRVAE) -> VAE:
    """A VAE of the same weights, to which views can be given as items."""
    dataset = contract.dataset_for("vae")
    twin = contract.build("vae", dataset, encoder="mlp", dim=3, beta=method.beta, likelihood=method.likelihood)
    assert isinstance(twin, VAE)
    twin.load_state_dict({key: value for key, value in method.state_dict().items() if key in twin.state_dict()})
    twin.encoder.input.spec = replace(dataset.spec, dtype="float32", low=0.0, high=1.0)
    return twin.double().eval()


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_without_contrast_it_is_the_vae_of_the_same_views(likelihood: str) -> None:
    method, batch = built(gamma=0.0, beta=1.7, likelihood=likelihood)
    view, twin = method.views(batch, AT)["global"][0], vae_of(method)
    assert not torch.equal(view.x, method.encoder.input.unit(batch.x))
    ours, theirs = method.loss(batch, AT), twin.loss(view, AT)
    assert torch.equal(ours["loss"], theirs["loss"])
    ours["loss"].backward()
    theirs["loss"].backward()
    gradients = dict(method.named_parameters())
    for key, parameter in twin.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(gradients[key].grad, parameter.grad, rtol=0, atol=1e-12)


def info_nce(queries: Tensor, keys: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """The mean over queries of -log of their own key's share, cosine by cosine."""
    total = torch.zeros((), dtype=queries.dtype)
    for q, k in zip(queries, keys, strict=True):
        scores = [(q @ other / q.norm() / other.norm() / temperature).exp() for other in [k, *queue]]
        total = total - (scores[0] / torch.stack(scores).sum()).log()
    return total / len(queries)


def test_the_contrast_is_between_drawn_codes_of_two_views_and_the_queue() -> None:
    method, batch = built(gamma=2.5, temperature=0.3)
    first, second = (view.x for view in method.views(batch, AT)["global"])
    query = drawn(*posterior(method.encoder(first)), noise_of(batch, AT, 3))
    with torch.no_grad():
        key = drawn(*posterior(method.teacher_encoder(second)), noise_of(batch, AT, 3, "key"))
    assert not torch.equal(noise_of(batch, AT, 3, "key"), noise_of(batch, AT, 3))
    expected = info_nce(query, key, method.old_keys, 0.3)
    terms = method.loss(batch, AT)
    torch.testing.assert_close(terms["contrast"], expected)
    torch.testing.assert_close(terms["loss"], terms["rebuild"] + terms["kl"] + 2.5 * expected)
    trained = list(method.encoder.parameters())
    whole = torch.autograd.grad(terms["loss"], trained)
    rest = torch.autograd.grad(method.loss(batch, AT)["rebuild"] + method.loss(batch, AT)["kl"], trained)
    contrast = torch.autograd.grad(expected, trained)
    for all_of_it, bound, share in zip(whole, rest, contrast, strict=True):
        torch.testing.assert_close(all_of_it, bound + 2.5 * share)
    assert any(share.abs().max() > 1e-6 for share in contrast)


def test_the_queue_waits_for_the_end_of_the_step_and_the_teacher_follows() -> None:
    method, batch = built(momentum=0.75)
    before = method.old_keys.clone()
    keys, _ = method.keys(method.views(batch, AT)["global"][1].x, batch, AT)
    method.loss(batch, AT)["loss"].backward()
    assert torch.equal(method.old_keys, before)
    assert all(parameter.grad is None for parameter in method.teacher_encoder.parameters())
    pairs = zip(method.teacher_encoder.parameters(), method.encoder.parameters(), strict=True)
    expected = [0.75 * teacher.detach() + 0.25 * student.detach() for teacher, student in pairs]
    method.after_step(AT)
    assert torch.equal(method.old_keys, torch.cat([keys, before[5:]]))
    torch.testing.assert_close(keys.norm(dim=1), torch.ones(5, dtype=torch.float64))
    for parameter, wanted in zip(method.teacher_encoder.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.detach(), wanted)
    signs = method.vitals(batch, AT)
    assert signs["queue_filled"] == pytest.approx(5 / 6)
    assert signs["teacher_distance"] == distance(method.teacher_encoder, method.encoder)
    method.after_step(AT)  # without a loss there is nothing to remember
    assert method.written == 5


def test_a_queue_that_suits_the_rows_and_the_same_one_on_every_process() -> None:
    dataset = contract.dataset_for("crvae")
    first, second = contract.build("crvae", dataset), contract.build("crvae", dataset)
    assert isinstance(first, CRVAE)
    assert isinstance(second, CRVAE)
    assert len(first.old_keys) == first.queue == queue_for(len(dataset))
    assert torch.equal(first.old_keys, second.old_keys)
    assert first._ddp_params_and_buffers_to_ignore == ["old_keys", "written"]
    assert LightningMethod(first)._ddp_params_and_buffers_to_ignore == ["method.old_keys", "method.written"]


def test_what_it_tells_of_an_item_is_of_the_item_itself() -> None:
    method, batch = built()
    twin = vae_of(method)
    item = batch.with_x(method.encoder.input.unit(batch.x))
    torch.testing.assert_close(method.embed(batch), twin.embed(item))
    torch.testing.assert_close(method.log_likelihood(batch, 3), twin.log_likelihood(item, 3))
    codes = method.embed(batch)
    torch.testing.assert_close(method.decode(codes), twin.decode(codes))
    assert method.float().sample(4).shape == (4, 1, 8, 8)


def trained(steps: int, **options: object) -> CRVAE:
    """By Adam."""
    dataset = contract.dataset_for("crvae")
    method = contract.build("crvae", dataset, encoder="mlp", dim=4, momentum=0.9, **options)
    assert isinstance(method, CRVAE)
    optimiser = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=3e-3)
    for step in range(steps):
        at = Progress(step, steps, epoch=step, seed=5)
        batch = dataset.batch(np.random.default_rng(step).permutation(len(dataset))[:32])
        loss = method.loss(batch, at)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        method.after_step(at)
    return method.eval()


@pytest.mark.parametrize(
    "cause",
    [pytest.param({"beta": 30.0}, id="large beta"), pytest.param({"autoregressive": True}, id="strong decoder")],
)
def test_where_the_posterior_of_a_vae_collapses_the_contrast_keeps_it_awake(cause: dict[str, object]) -> None:
    items = contract.dataset_for("crvae").batch(np.arange(96))
    asleep, awake = (trained(150, gamma=gamma, **cause).vitals(items, AT) for gamma in (0.0, 30.0))
    # Over five seeds the logarithm of the ratio is 5.0 ± 0.5 and 6.2 ± 0.5, that of the sleeper's nats -5.9 ± 0.1 and
    # -4.2 ± 0.5: both limits are more than four standard deviations away. Counts of active units are not: a quarter of
    # four units is one.
    assert asleep["kl"] < 0.2
    assert awake["kl"] > 10 * asleep["kl"]
