"""The adversarial losses of the baselines, each titled with its source.

| symbol     | code                   | meaning                                               |
|------------|------------------------|-------------------------------------------------------|
| D(G(x))    | ``score_of_synthetic`` | scores of synthetic images by D, any shape            |
| D(y)       | ``score_of_acquired``  | the same for acquired images                          |
| gamma      | ``gamma``              | weight of the gradient penalty R1                     |
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus


def least_squares_generator(score_of_synthetic: Tensor) -> Tensor:
    """LSGAN (Mao et al., ICCV 2017, Eq. 9): mean (D(G(x)) - 1)^2."""
    return (score_of_synthetic - 1).square().mean()


def least_squares_discriminator(score_of_synthetic: Tensor, score_of_acquired: Tensor) -> Tensor:
    """LSGAN (Mao et al., ICCV 2017, Eq. 9): mean D(G(x))^2 + mean (D(y) - 1)^2, without 1/2."""
    return score_of_synthetic.square().mean() + (score_of_acquired - 1).square().mean()


def non_saturating_generator(score_of_synthetic: Tensor) -> Tensor:
    """Goodfellow et al., NeurIPS 2014, Sec. 3: -log sigmoid(D(G(x))) = softplus(-D(G(x)))."""
    return softplus(-score_of_synthetic).mean()


def non_saturating_discriminator(score_of_synthetic: Tensor, score_of_acquired: Tensor) -> Tensor:
    """Goodfellow et al., Eq. 1, as softplus; the same as binary cross-entropy on scores."""
    return softplus(score_of_synthetic).mean() + softplus(-score_of_acquired).mean()


def r1_penalty(score_of_acquired: Tensor, acquired: Tensor, gamma: float) -> Tensor:
    """Mescheder et al., ICML 2018, Eq. 9: gamma/2 mean over the batch of |grad_y D(y)|^2.

    ``acquired`` (B,...) must require gradients and ``score_of_acquired`` depend on it.
    """
    (gradient,) = torch.autograd.grad(score_of_acquired.sum(), acquired, create_graph=True)
    return gamma / 2 * gradient.flatten(1).square().sum(1).mean()
