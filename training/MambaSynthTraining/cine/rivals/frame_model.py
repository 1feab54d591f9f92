"""What every method is to the scoring: two images in, frames out.

| symbol | code            | shape       | meaning                                             |
|--------|-----------------|-------------|-----------------------------------------------------|
| S, T   | ``ed``, ``es``  | (D,H,W)     | acquired images in [0,1]                            |
| gamma  | ``fractions``   | (F,)        | time between ED (0) and ES (1)                      |
| I      | ``images``      | (F,D,H,W)   | synthetic frames in [0,1]                           |
| phi    | ``fields``      | (F,3,D,H,W) | where each voxel of a frame lies in ED, voxels      |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Image = NDArray[np.float32]


@dataclass(frozen=True)
class SyntheticFrames:
    """``fields`` is None for methods without any; ``passes`` counts the forward passes."""

    images: Image
    fields: Image | None
    passes: int


class FrameModel(Protocol):
    """A trained method, or a trivial one."""

    def synthesize(self, ed: Image, es: Image, fractions: Sequence[float]) -> SyntheticFrames: ...

    def frames(self, ed: Image, es: Image, fractions: Sequence[float]) -> Image:
        """The frames alone, (F,D,H,W)."""
        return self.synthesize(ed, es, fractions).images


class TorchFrames(FrameModel):
    """A method told by ``one_frame``: (1,1,D,H,W) ED and ES, gamma -> image and field or None.

    ``counted`` are the networks whose forward passes are counted. ``shared`` is called once per
    pair of images; what it gives is handed to ``one_frame`` in the place of ED and ES.
    """

    def __init__(
        self,
        one_frame: Callable[..., tuple[Tensor, Tensor | None]],
        counted: Sequence[torch.nn.Module],
        device: str | torch.device,
        shared: Callable[[Tensor, Tensor], object] | None = None,
    ) -> None:
        self._one_frame, self._shared = one_frame, shared
        self._counted, self._device = counted, device

    @torch.inference_mode()
    def synthesize(self, ed: Image, es: Image, fractions: Sequence[float]) -> SyntheticFrames:
        passes = 0

        def count(*_: object) -> None:
            nonlocal passes
            passes += 1

        hooks = [network.register_forward_hook(count) for network in self._counted]
        try:
            pair = [torch.from_numpy(np.array(x))[None, None].to(self._device) for x in (ed, es)]
            known = pair if self._shared is None else [self._shared(*pair)]
            made = [self._one_frame(*known, float(fraction)) for fraction in fractions]
        finally:
            for hook in hooks:
                hook.remove()
        images = torch.cat([image for image, _ in made])[:, 0].clamp(0, 1)
        fields = [field for _, field in made if field is not None]
        return SyntheticFrames(
            images.float().cpu().numpy(),
            torch.cat(fields).float().cpu().numpy() if fields else None,
            passes,
        )
