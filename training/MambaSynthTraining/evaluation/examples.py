"""The slices of a candidate that a report shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]


@dataclass
class Examples:
    """Slices to look at: the middle one of each subject, and the best and worst by SSIM.

    Each is (3,H,W): source, synthetic, acquired, in the network's range. Only of the first seed.
    """

    images: dict[str, Images] = field(default_factory=dict)
    ssim: dict[str, float] = field(default_factory=dict)

    def keep(
        self, subject: str, compared: Sequence[tuple[float, int]], image: Callable[[int], Images]
    ) -> None:
        """The slices of one subject that are worth it; ``compared`` are SSIM and number of each
        slice that was scored, ``image`` makes the picture of a number.
        """
        if not compared:
            return
        for key, (ssim, n), better in (
            ("best", max(compared), lambda a, b: a > b),
            ("worst", min(compared), lambda a, b: a < b),
        ):
            self._offer(key, ssim, better, image(n), f"{subject}, slice {n}, SSIM {ssim:.3f}")

    def _offer(self, key: str, ssim: float, better: Callable[[float, float], bool],
              image: Images, label: str) -> None:  # fmt: skip
        """Keep ``image`` as the best or worst if it is."""
        former = next((name for name in self.images if name.startswith(f"{key}:")), None)
        if former is None or better(ssim, self.ssim[former]):
            if former is not None:
                del self.images[former], self.ssim[former]
            self.images[f"{key}:{label}"], self.ssim[f"{key}:{label}"] = image, ssim
