"""Small twins of the baselines, toy images of two contrasts, and a loop, for the tests."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from MambaSynthTraining.method import TrainingMethod
from MambaSynthTraining.methods import method_class
from MambaSynthTraining.recipe import Recipe
from MambaSynthTraining.recipe_file import recipe_of

NCSNPP = dict(width=8, multipliers=[1, 2], blocks=1, attention_levels=[1], latent=4, style=8)
TWINS = {
    "cyclegan": dict(width=8, blocks=2, discriminator_width=8),
    "attentiongan": dict(width=8, blocks=2, n_attentions=4, discriminator_width=8),
    "reggan": dict(width=8, blocks=2, discriminator_width=8, registration_widths=[8, 16]),
    "cut": dict(width=8, blocks=2, discriminator_width=8),
    "selfrdb": dict(diffusive=NCSNPP, discriminator_width=4, halvings=3),
    "pix2pix": dict(width=8, levels=4, discriminator_width=8),
    "cycle-denoise-resnet": dict(generator="resnet", width=4, blocks=2),
    "cycle-denoise-attention": dict(generator="attention", width=4, blocks=2, n_attentions=3),
    "syndiff": dict(diffusive=NCSNPP, width=8, blocks=1, discriminator_width=4, halvings=3),
}
CRAVIM = dict(ngf=4, n_blocks=2, n_attentions=3)
ABLATIONS = {  # CRAViM and the rows of Table 2 that lack one of its losses
    "cravim": {},
    "cravim-without-rdn": {"lambda_rdn": 0.0},
    "cravim-without-trans": {"lambda_trans": 0.0},
}
FALLING = {  # terms that fall from the start, whatever the adversaries do
    "cyclegan": ["cyc_source", "cyc_target", "idt_source", "idt_target"],
    "attentiongan": ["cyc_source", "cyc_target", "idt_source", "idt_target"],
    "reggan": ["corr"],
    "cut": ["nce_source"],
    "selfrdb": ["rec"],
    "pix2pix": ["l1"],
    "cycle-denoise-resnet": ["trans_forward_a", "cyc_a", "cyc_b"],
    "cycle-denoise-attention": ["trans_forward_a", "cyc_a", "cyc_b"],
    "cravim": ["trans_forward_a", "cyc_a", "cyc_b"],
    "cravim-without-rdn": ["trans_forward_a", "cyc_a", "cyc_b"],
    "cravim-without-trans": ["cyc_a", "cyc_b"],
    "syndiff": ["diffusive_source", "diffusive_target", "cyc_source", "cyc_target"],
}
RATES = {"generators": 2e-3, "discriminators": 1e-3}


def twin(name: str, **changes: object) -> TrainingMethod:
    """The small twin of a method, with its preset's settings but for higher learning rates."""
    torch.manual_seed(3)
    recipe = twin_recipe(name, **changes)
    return method_class(recipe.method).build(recipe)


def twin_recipe(name: str, **changes: object) -> Recipe:
    """Its recipe, of one iteration."""
    method = next((kind for kind in ("cycle-denoise", "cravim") if name.startswith(kind)), name)
    if method != name or name in ABLATIONS:
        changes = {"options": {"discriminator_width": 4, "steps": 1}, **changes}
    if name in ABLATIONS:
        changes = {"network": CRAVIM, "weights": ABLATIONS[name], **changes}
    return recipe_of(
        {
            "method": method,
            "preset": "paper",
            "seed": 3,
            "stages": [{"iterations": 1, "batch": 1, "crop": [64, 64]}],
            "network": TWINS.get(name),
            "optimization": {"learning_rates": RATES},
            **changes,
        }
    )


def toy_pair(count: int, seed: int, size: int = 32) -> tuple[Tensor, Tensor]:
    """(N,1,size,size) twice: blobs of smooth brightness x, and y = cos(2.5 x), dark where x is
    darkest or brightest; both -1 outside an ellipse, as a head is.
    """
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 1, 5, 5, generator=generator)
    blobs = F.interpolate(coarse, size=(size, size), mode="bicubic").clamp(-1, 1)
    at = torch.linspace(-1, 1, size)
    axes = 0.6 + 0.3 * torch.rand(2, count, 1, 1, generator=generator)
    inside = (((at[:, None] / axes[0]) ** 2 + (at / axes[1]) ** 2) < 1)[:, None]
    return torch.where(inside, blobs, -1.0), torch.where(inside, torch.cos(2.5 * blobs), -1.0)


def train(
    method: TrainingMethod, pairs: tuple[Tensor, Tensor], iterations: int, batch: int = 4
) -> list[dict[str, float]]:
    """The loss terms of each iteration; as the engine does, in its plainest form."""
    optimizers = method.optimizers()
    history = []
    method.networks.train()
    for iteration in range(iterations):
        generator = torch.Generator().manual_seed(iteration)
        chosen = torch.randint(len(pairs[0]), (batch,), generator=generator)
        terms: dict[str, float] = {}
        for phase in method.iteration((pairs[0][chosen], pairs[1][chosen]), generator):
            optimizers[phase.optimizer].zero_grad()
            phase.loss.backward()
            optimizers[phase.optimizer].step()
            terms |= {name: float(value) for name, value in phase.terms.items()}
        history.append(terms)
    return history


@torch.no_grad()
def error(method: TrainingMethod, pairs: tuple[Tensor, Tensor]) -> float:
    """Mean absolute error of the synthetic target."""
    method.networks.eval()
    synthetic = method.synthesize(pairs[0], torch.Generator().manual_seed(99))
    return float((synthetic - pairs[1]).abs().mean())
