"""Earlier synthetic images, for a discriminator to see again (Shrivastava et al., CVPR 2017)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor, nn


class ImagePool(nn.Module):
    """At most ``size`` images, kept as a buffer, so that they lie in every checkpoint.

    Sec. 2.3 of the paper, as CycleGAN takes it: until the pool is full, images go in and are also
    handed on; then each is, with probability 1/2, exchanged for a random one of the pool.
    """

    images: Tensor

    def __init__(self, size: int = 50) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("images", torch.empty(0))  # (n,1,H,W)

    @torch.no_grad()
    def exchange(self, images: Tensor, generator: Generator) -> Tensor:
        """(B,1,H,W) new synthetic images -> (B,1,H,W) new and earlier ones, without gradient.

        Images of another size than the pool's (another stage of the recipe) start it anew.
        """
        if self.size == 0:
            return images.detach()
        if self.images.shape[1:] != images.shape[1:]:
            self.images = images.new_empty(0, *images.shape[1:])
        return torch.stack([self._exchange_one(image, generator) for image in images.detach()])

    def _exchange_one(self, image: Tensor, generator: Generator) -> Tensor:
        if len(self.images) < self.size:
            self.images = torch.cat([self.images, image[None].to(self.images.dtype)])
            return image
        if torch.rand((), generator=generator) < 0.5:
            return image
        n = int(torch.randint(self.size, (), generator=generator))
        earlier = self.images[n].clone()
        self.images[n] = image
        return earlier.to(image.dtype)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """As for any module, but the number and size of the images are the checkpoint's."""
        if f"{prefix}images" in state:
            self.images = self.images.new_empty(state[f"{prefix}images"].shape)
        super()._load_from_state_dict(state, prefix, *rest)
