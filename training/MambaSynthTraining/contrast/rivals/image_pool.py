"""Earlier synthetic images, for a discriminator to see again (Shrivastava et al., CVPR 2017)."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
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

        The images of all processes, in order, go through one pool, which so is the same in each.
        Images of another size than the pool's (another stage of the recipe) start it anew.
        """
        if self.size == 0:
            return images.detach()
        if self.images.shape[1:] != images.shape[1:]:
            self.images = images.new_empty(0, *images.shape[1:], dtype=torch.float32)
        draws = torch.rand(len(images), 2, generator=generator)
        all_images, all_draws = (
            _of_all_processes(images.detach()),
            _of_all_processes(draws.to(images.device)),
        )
        handed = [
            self._exchange_one(image, *draw)
            for image, draw in zip(all_images, all_draws.tolist(), strict=True)
        ]
        first = len(images) * (dist.get_rank() if dist.is_initialized() else 0)
        return torch.stack(handed[first : first + len(images)])

    def _exchange_one(self, image: Tensor, chance: float, where: float) -> Tensor:
        """(1,H,W) -> (1,H,W); both numbers are uniform in [0,1)."""
        if len(self.images) < self.size:
            self.images = torch.cat([self.images, image[None].float()])
            return image
        if chance < 0.5:
            return image
        n = int(where * self.size)
        earlier = self.images[n].to(image.dtype, copy=True)
        self.images[n] = image
        return earlier

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """As for any module, but the number and size of the images are the checkpoint's."""
        if f"{prefix}images" in state:
            self.images = self.images.new_empty(state[f"{prefix}images"].shape)
        super()._load_from_state_dict(state, prefix, *rest)


def _of_all_processes(x: Tensor) -> Tensor:
    """(B,...) -> (processes B,...)."""
    if not dist.is_initialized():
        return x
    parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)
