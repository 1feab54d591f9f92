"""LPIPS through torchmetrics, where torchvision and AlexNet's weights are present.

Nothing is downloaded: a table must not depend on the network being there. Put
``alexnet-owt-7be5be79.pth`` into ``$TORCH_HOME/hub/checkpoints`` to get the column.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from MambaSynthTraining.evaluation.measures import Lpips, Slice

WEIGHTS = "alexnet-owt-7be5be79.pth"
NOT_COMPUTED = "not computed"


def find_lpips() -> tuple[Lpips | None, str]:
    """The distance of two (H,W) slices in [-1,1], and how it is made; or None, and why not."""
    import torch

    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError) as error:  # RuntimeError: built for another torch
        reason = str(error).partition("\n")[0]
        return None, f"{NOT_COMPUTED}: torchvision is not usable here ({reason})"
    path = Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS
    if not path.is_file():
        return None, f"{NOT_COMPUTED}: AlexNet's weights are not at {WEIGHTS} in torch's hub folder"
    return _lpips(), "AlexNet v0.1, torchmetrics"


def _lpips() -> Lpips:
    import torch
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    metric = LearnedPerceptualImagePatchSimilarity(net_type="alex").eval()

    def distance(image: Slice, reference: Slice) -> float:
        batches = [
            torch.from_numpy(np.float32(x))[None, None].expand(1, 3, -1, -1)
            for x in (image, reference)
        ]
        with torch.no_grad():
            metric.reset()
            return float(metric(*batches))

    return distance
