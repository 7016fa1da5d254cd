"""DFC-VAE: a VAE that compares an item with its reconstruction by the features of a fixed network, not by pixels.

Hou et al. 2016, "Deep Feature Consistent Variational Autoencoder", https://arxiv.org/abs/1610.00291, eq. 3 and 4. With
z ~ q(z|x) as in the VAE, g the decoder and Phi_l the layers of a fixed network, per item:

    loss = sum_l 1/2 |Phi_l(x) - Phi_l(g(z))|^2 + beta KL(q(z|x), N(0, 1))

If Phi is the identity, this is, up to a constant, the bound of a VAE with a Gaussian of variance 1 around every value.
Differs from the paper: the squares of a layer are summed, not averaged, so that they are a log-likelihood of features
in nats (the paper's two weights correspond to another beta); AdamW. The paper's Phi is `--features vgg19:pretrained`.
Any run of Salience can be used. The default is a convolutional network with random weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

import torch
from annotated_types import Ge
from torch import Tensor, nn

from salience.batch import Batch, Progress
from salience.errors import UserError, naming
from salience.methods.contract import Auto, Context, Method, settled
from salience.methods.generative._codes import code_width
from salience.methods.generative.vae import (
    FEW_ACTIVE_UNITS,
    NO_INFORMATION,
    cloud,
    code_vitals,
    noise_of,
    posterior,
    posterior_of,
)
from salience.methods.precision import full_precision
from salience.nets import Encoder, Features, keep_scale, make_decoder, make_encoder


@full_precision
def half_square(seen: Tensor, wanted: Tensor) -> Tensor:
    """Compute 1/2 |a - b|^2 of each item.  [n ...], [n ...] -> [n]"""
    return 0.5 * (seen - wanted).square().flatten(1).sum(dim=1)


class DFCVAE(Method):
    """DFC-VAE.

    dim: width of the code, at most the number of values of an item
    beta: weight of the KL divergence
    features: network that compares items: the folder of a run, or a name such as "vgg19:pretrained"; without
        ":pretrained" its weights are random and fixed
    network: name of the network of `features`, as for --encoder; it is detected and saved, so that the run of the
        features is not needed later
    layers: number of layers that are compared, from the first
    """

    requires = ("vectors",)
    signs = (NO_INFORMATION, FEW_ACTIVE_UNITS)
    constrains_codes = "--beta"

    def __init__(
        self,
        encoder: Encoder,
        decoder: nn.Module,
        perceive: nn.Module,
        *,
        dim: Annotated[int, Ge(1)] = 64,
        beta: Annotated[float, Ge(0)] = 1.0,
        features: str = Auto,
        network: str = Auto,
        layers: Annotated[int, Ge(1)] = 3,
    ):
        super().__init__(encoder)
        self.decoder = decoder
        self.perceive = perceive
        self.dim = dim
        self.beta = beta
        self.features = features
        self.network = network
        self.layers = layers

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        dim = code_width(context, options)
        options = settled(options, features=context.spec.modality.default_encoder)
        network, seeing = network_of(context, options["features"], options.get("network", Auto))
        options |= {"dim": dim, "network": network}
        decoder = make_decoder(context.encoder, context.spec, dim)
        return cls(context.make_encoder(dim=2 * dim), decoder, Features(seeing, options.get("layers", 3)), **options)

    def loss(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        x = self.encoder.input.unit(batch.x)
        z, divergence = cloud(self.encoder(x), noise_of(batch, at, self.dim))
        rebuilt = self.decoder(z)
        with torch.no_grad():
            wanted = self.perceive(x)
        differences = [half_square(*pair) for pair in zip(self.perceive(rebuilt), wanted, strict=True)]
        rebuild, kl = torch.stack(differences).sum(dim=0).mean(), divergence.mean()
        return {"loss": rebuild + self.beta * kl, "rebuild": rebuild, "kl": kl}

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the means of the codes.  [n ...] -> [n dim]"""
        return posterior(self.encoder(x, mask))[0]

    @property
    def width(self) -> int:
        return self.dim

    def posterior(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the mean and log variance of each item's code.  -> [n dim], [n dim]"""
        return posterior_of(self.encoder, batch)

    def decode(self, codes: Tensor) -> Tensor:
        """Reconstruct items from codes.  [n dim] -> [n ...] on the unit scale"""
        return self.decoder(codes)

    def sample(self, n: int) -> Tensor:
        """Decode n samples of z from the standard normal."""
        return self.decode(torch.randn(n, self.dim, device=self.device))

    def vitals(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        return code_vitals(*self.posterior(batch))


def network_of(context: Context, features: str, network: str) -> tuple[str, Encoder]:
    """Return the name and the network that `features` describes.  network: its name if known

    A loaded method gets a network of the same architecture; the weights are loaded with the method's.
    Raises: UserError if there is no such network or run, or if the run was trained on other data.
    """
    if not context.fetch:
        name = features if network == Auto else network
    elif context.load_encoder is not None and Path(features).is_dir():
        return context.load_encoder(features)
    else:
        name = features
        if network not in (Auto, features):
            raise UserError(f"network: {network!r} was given, and features {features!r}, which is no run; leave it out")
    with naming("features", "encoder"):
        encoder = make_encoder(name, context.spec, fetch=context.fetch)
    if ":" not in name:
        keep_scale(encoder)
    return name, encoder
