"""The losses of the methods as functions of tensors, for a training of one's own.

    from salience.losses import nt_xent

    loss = nt_xent(a, b, temperature=0.5)  # a, b: [n d], two views of n items

Each comes from its method's file, whose docstring has the formula. In a training over several processes each sees the
items of all (see salience.distributed). Half-precision inputs are computed in float32.
"""

from salience.methods.autoencoders.autoencoder import reconstruction_error
from salience.methods.autoencoders.contractive_autoencoder import contraction
from salience.methods.autoencoders.sparse_autoencoder import kl_penalty, l1_penalty
from salience.methods.contrastive.barlowtwins import barlow_twins_loss
from salience.methods.contrastive.byol import byol_loss
from salience.methods.contrastive.cmc import cmc_loss
from salience.methods.contrastive.dino import dino_loss
from salience.methods.contrastive.moco import moco_loss
from salience.methods.contrastive.simclr import nt_xent
from salience.methods.contrastive.simsiam import simsiam_loss
from salience.methods.contrastive.supcon import supcon_loss
from salience.methods.contrastive.swav import swav_loss
from salience.methods.contrastive.vicreg import vicreg_loss
from salience.methods.generative.gan import discriminator_loss, generator_loss
from salience.methods.generative.vae import bernoulli as bernoulli_loss
from salience.methods.generative.vae import gaussian as gaussian_loss
from salience.methods.generative.vae import iwae as iwae_bound
from salience.methods.generative.vae import kl_divergence

__all__ = [
    "barlow_twins_loss",
    "bernoulli_loss",
    "byol_loss",
    "cmc_loss",
    "contraction",
    "dino_loss",
    "discriminator_loss",
    "gaussian_loss",
    "generator_loss",
    "iwae_bound",
    "kl_divergence",
    "kl_penalty",
    "l1_penalty",
    "moco_loss",
    "nt_xent",
    "reconstruction_error",
    "simsiam_loss",
    "supcon_loss",
    "swav_loss",
    "vicreg_loss",
]
