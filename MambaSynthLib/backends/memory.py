"""When the memory of a GPU does not suffice: fewer images at a time, at last the CPU.

The result stays the same to rounding, and the user reads one line about it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.backends import Network
from MambaSynthLib.provenance import Place

LOG = logging.getLogger(__name__)
Images = NDArray[np.float32]
WORDS = ("out of memory", "allocat", "alloc_failed", "unable to find an engine")  # cuDNN's, full


def is_exhausted(error: Exception) -> bool:
    """Whether a runtime says in its own words that memory ran out; each has a class of its own."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in WORDS)


class FittingNetwork:
    """``network`` on images (B,...), in parts of a size that the device's memory has shown to hold.

    ``on_cpu`` makes the network that takes over when not even one image fits; ``release`` gives
    back what a failed call left behind. ``places`` tells which of the two computed the latest call.
    """

    def __init__(
        self,
        network: Network,
        on_cpu: Callable[[], Network],
        release: Callable[[], None] = lambda: None,
    ) -> None:
        self._network, self._on_cpu, self._release = network, on_cpu, release
        self._device, self._largest, self._told = network.places[0].device, 0, False
        self.places = network.places

    def __call__(self, images: Images) -> Images:
        size = min(len(images), self._largest or len(images))
        results: list[Images] = []
        places: dict[Place, None] = {}  # in the order of use
        start = 0
        while start < len(images):
            part = images[start : start + size]
            try:
                results.append(self._network(part))
            except Exception as error:
                if not self._device or not is_exhausted(error):
                    raise
                size = len(part) // 2
            else:
                start += len(part)
                places |= dict.fromkeys(self._network.places)
                continue
            # outside of the handler, whose traceback holds on to the memory
            self._release()
            size = self._shrink(size)
        self.places = tuple(places)
        return np.concatenate(results)

    def _shrink(self, size: int) -> int:
        """Images at a time from now on; 0 asks for the CPU."""
        device = self._device
        if size == 0:
            self._network, self._device, self._largest = self._on_cpu(), "", 0
            self._tell(f"the memory of {device} is not enough for one image; computing on the CPU.")
            return 1
        self._largest = size
        self._tell(f"the memory of {device} is short; computing in smaller batches.")
        return size

    def _tell(self, message: str) -> None:
        LOG.log(logging.INFO if self._told else logging.WARNING, message)
        self._told = True
