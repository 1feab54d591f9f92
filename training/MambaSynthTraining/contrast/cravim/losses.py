"""The losses of CRAViM, one function per printed equation (Sec. 2, Eq. 3-5).

| symbol         | code          | meaning                                                     |
|----------------|---------------|-------------------------------------------------------------|
| x_0            | ``acquired``  | an acquired image (B,1,H,W) in [-1,1]                       |
| G(...)[1]      | ``synthetic`` | a synthetic image of the target contrast                    |
| x'_0 = G(.)[0] | ``carried``   | the generator's transported source                          |
| lambda_*       | ``Weights``   | the weights of the terms                                    |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from MambaSynthLib.image.intensity import EMPTY


@dataclass(frozen=True)
class Weights:
    """Eq. 5. The last four are ours, 0 in the paper; paired and structure need registered pairs."""

    lambda_adv: float = 1.0
    lambda_rdn: float = 5.0
    lambda_trans: float = 1.0
    lambda_cyc: float = 15.0
    lambda_paired: float = 0.0
    lambda_structure: float = 0.0
    lambda_edge: float = 0.0
    lambda_r1: float = 0.0


def adversarial_loss(scores_of_synthetic: Sequence[Tensor]) -> Tensor:
    """Least-squares GAN, generator's side: sum over scales of mean (D(G(x)) - 1)^2."""
    return sum_over_scales((score - 1).square().mean() for score in scores_of_synthetic)


def discriminator_loss(
    scores_of_synthetic: Sequence[Tensor], scores_of_acquired: Sequence[Tensor]
) -> Tensor:
    """Least-squares GAN, discriminator's side: mean D(G(x))^2 + mean (D(y) - 1)^2, no 1/2."""
    return sum_over_scales(
        synthetic.square().mean() + (acquired - 1).square().mean()
        for synthetic, acquired in zip(scores_of_synthetic, scores_of_acquired, strict=True)
    )


def random_denoise_loss(synthetic: Tensor, denoised: Tensor) -> Tensor:
    """Eq. 4, L_rdn: the synthetic image equals its own noised-then-denoised version."""
    return l1_loss(synthetic, denoised)


def transport_loss(carried: Tensor, original: Tensor) -> Tensor:
    """Eq. 3, L_trans: the transported image equals what went in."""
    return l1_loss(carried, original)


def cycle_loss(reconstructed: Tensor, acquired: Tensor) -> Tensor:
    """L_cyc: the acquired image comes back from its synthetic counterpart."""
    return l1_loss(reconstructed, acquired)


def paired_loss(synthetic: Tensor, acquired_target: Tensor) -> Tensor:
    """L1 to the registered acquired target; not in the paper."""
    return l1_loss(synthetic, acquired_target)


def inverted(source: Tensor) -> Tensor:
    """``source`` with its tissue upside down, background as it is; (B,1,H,W) in [-1,1].

    What it costs is nothing, and it is nearer to the other of T1w and T2w than the source is.
    """
    return torch.where(source > EMPTY, -source, source)


def structural_loss(synthetic: Tensor, acquired_target: Tensor, bins: int = 48) -> Tensor:
    """2 - NMI, with the normalized mutual information (H(f) + H(r)) / H(f,r) of Studholme et al.
    1999 for each image, from histograms smoothed by Gaussian Parzen windows one bin wide; not in
    the paper. 0 when each is a function of the other, near 1 when they are independent.
    """
    with torch.autocast(synthetic.device.type, enabled=False):
        f, r = (_memberships(image.float(), bins) for image in (synthetic, acquired_target))
        joint = torch.einsum("bpf,bpr->bfr", f, r) / f.shape[1]  # (B,bins,bins)
        apart = _entropy(joint.sum(2)) + _entropy(joint.sum(1))
        return (2 - apart / _entropy(joint.flatten(1))).mean()


def edge_loss(synthetic: Tensor, source: Tensor, eta: float = 0.05) -> Tensor:
    """Normalized gradient fields (Haber & Modersitzki 2006), for images of different contrast:
    the mean of |n(s)|^2 - <n(f), n(s)>^2 over that of |n(s)|^2, n(x) = grad x / sqrt(|grad x|^2 +
    eta^2); not in the paper. Near 0 where the source's edges are edges of the synthetic image,
    whichever side is bright; 1 for a flat one.
    """
    f, s = _normalized_gradient(synthetic, eta), _normalized_gradient(source, eta)
    strength = s.square().sum(1)  # (B,h,w), near 1 on edges and 0 in flat regions
    missing = strength - (f * s).sum(1).square()
    return missing.sum() / strength.sum().clamp(min=1.0)


def _normalized_gradient(image: Tensor, eta: float) -> Tensor:
    """(B,1,h,w) -> (B,2,h-1,w-1): forward differences over their regularized length."""
    down = image[:, :, 1:, :-1] - image[:, :, :-1, :-1]
    right = image[:, :, :-1, 1:] - image[:, :, :-1, :-1]
    gradient = torch.cat([down, right], dim=1)
    return gradient / (gradient.square().sum(1, keepdim=True) + eta**2).sqrt()


def r1_penalty(discriminator: nn.Module, acquired: Tensor) -> Tensor:
    """R1 (Mescheder et al. 2018): mean over the batch of |grad_x sum of D(x)|^2 at acquired images;
    not in the paper.
    """
    acquired = acquired.detach().requires_grad_()
    scores = sum_over_scales(score.mean(dim=(1, 2, 3)).sum() for score in discriminator(acquired))
    (gradient,) = torch.autograd.grad(scores, acquired, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean()


def _memberships(image: Tensor, bins: int) -> Tensor:
    """(B,1,h,w) in [-1,1] -> (B,h w,bins): each pixel's share in each bin; they sum to 1."""
    centers = torch.linspace(-1, 1, bins, device=image.device)
    distance = (image.clamp(-1, 1).flatten(1).unsqueeze(-1) - centers) * (bins - 1) / 2
    return torch.softmax(-distance.square() / 2, dim=-1)


def _entropy(p: Tensor) -> Tensor:
    """(B,n) probabilities -> (B,) nats."""
    return -(p * p.clamp(min=1e-12).log()).sum(-1)


def sum_over_scales(terms: object) -> Tensor:
    """The scales are added, not averaged, as published."""
    total: Tensor = sum(terms)  # type: ignore[call-overload]
    return total
