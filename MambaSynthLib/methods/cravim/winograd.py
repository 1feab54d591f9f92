"""3x3 convolution by Winograd's minimal filtering F(4x4, 3x3) (Lavin & Gray, CVPR 2016, Sec. 4.1).

    Y = A^T [ (G g G^T) * (B^T d B) ] A

| symbol | shape | meaning                                              |
|--------|-------|------------------------------------------------------|
| g      | (3,3) | kernel of one input and one output channel           |
| d      | (6,6) | input tile; neighboring tiles overlap by two pixels  |
| Y      | (4,4) | output tile                                          |

The product * is over 36 places instead of the 16 x 9 of a direct convolution; summed over the input
channels it is one matrix product per place. The two transforms of a tile are products with a
36 x 36 and a 16 x 36 matrix, the Kronecker products of B^T and A^T with themselves. Exact in real
arithmetic; in float32 the rounding error is about five times that of a direct convolution.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from MambaSynthLib.methods.cravim.winograd_matrices import A_T, B_T, G

TILE = 4  # output pixels per side


class WinogradConv:
    """A 3x3 convolution without padding or bias, for channels-last images on one device."""

    def __init__(self, weight: Tensor) -> None:
        """``weight`` (O,C,3,3)."""
        g, b_t, a_t = (weight.new_tensor(m, dtype=torch.float64) for m in (G, B_T, A_T))
        kernels = torch.einsum("ij,ocjk,lk->ilco", g, weight.double(), g)
        self.kernels = kernels.flatten(0, 1).to(weight.dtype).contiguous()  # (36,C,O)
        self.into_tiles = torch.kron(b_t, b_t).to(weight.dtype)  # (36,36)
        self.out_of_tiles = torch.kron(a_t, a_t).to(weight.dtype)  # (16,36)

    def __call__(self, x: Tensor) -> Tensor:
        """(B,C,H+2,W+2) -> (B,O,H,W), both channels-last."""
        height, width = x.shape[2] - 2, x.shape[3] - 2
        tiles = self._tiles(x)  # (6,6,B,n,m,C)
        places = tiles.shape[2:5]
        d = torch.mm(self.into_tiles, tiles.reshape(36, -1))  # (36,BnmC)
        products = torch.bmm(d.view(36, -1, x.shape[1]), self.kernels)  # (36,Bnm,O)
        y = torch.mm(self.out_of_tiles, products.view(36, -1))  # (16,BnmO)
        y = y.view(TILE, TILE, *places, -1).permute(2, 3, 0, 4, 1, 5)  # (B,n,4,m,4,O)
        y = y.flatten(3, 4).flatten(1, 2)[:, :height, :width]
        return y.permute(0, 3, 1, 2)

    def _tiles(self, x: Tensor) -> Tensor:
        """(B,C,H,W) -> (6,6,B,n,m,C): overlapping tiles; zeros beyond sizes that do not fit."""
        rows, columns = ((size - 2) % -TILE for size in x.shape[2:])
        if rows or columns:
            x = F.pad(x, (0, -columns, 0, -rows))
        x = x.permute(0, 2, 3, 1).contiguous()  # (B,H,W,C)
        tiles = x.unfold(1, TILE + 2, TILE).unfold(2, TILE + 2, TILE)  # (B,n,m,C,6,6)
        return tiles.permute(4, 5, 0, 1, 2, 3)
