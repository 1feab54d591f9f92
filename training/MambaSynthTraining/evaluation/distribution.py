"""How far all synthetic slices together are from all acquired ones, whoever belongs to whom.

| symbol | code          | shape       | meaning                                    |
|--------|---------------|-------------|--------------------------------------------|
| y      | ``synthetic`` | (n,d)       | features of slices, of ``lpips.compare``   |
| r      | ``acquired``  | (m,d)       | likewise                                   |
| mu, C  |               | (d,), (d,d) | their mean and covariance                  |
| k      | ``_kernel``   |             | k(x, y) = (x.y / d + 1)^3                  |

    FID = |mu_y - mu_r|^2 + tr(C_y + C_r - 2 (C_y C_r)^(1/2))      Heusel et al., NeurIPS 2017
    KID = mean k(y,y') + mean k(r,r') - 2 mean k(y,r), y != y'     Binkowski et al., ICLR 2018

The features are AlexNet's last layer, not Inception's: these numbers rank rows of one table and
cannot be compared with those of other papers. With fewer slices than features FID is too large;
KID is not, but may be negative.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float64]


def distances(pairs: Sequence[Features]) -> dict[str, float]:
    """FID and KID of slices (2,d) each: synthetic, acquired; nothing for fewer than two."""
    if len(pairs) < 2:
        return {}
    synthetic, acquired = np.stack(pairs, axis=1)
    return {"fid": frechet(synthetic, acquired), "kid": kernel_distance(synthetic, acquired)}


def frechet(synthetic: Features, acquired: Features) -> float:
    """FID of (n,d) and (m,d)."""
    means = synthetic.mean(0) - acquired.mean(0)
    ours, theirs = (np.cov(x, rowvar=False) for x in (synthetic, acquired))
    values, vectors = np.linalg.eigh(theirs)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T  # symmetric: root C_y root has
    product = np.linalg.eigvalsh(root @ ours @ root)  # the eigenvalues of C_y C_r
    trace = np.trace(ours) + np.trace(theirs) - 2 * np.sqrt(np.maximum(product, 0)).sum()
    return float(means @ means + trace)


def kernel_distance(synthetic: Features, acquired: Features) -> float:
    """KID of (n,d) and (m,d), without bias: no slice is compared with itself."""
    within = [
        (k.sum() - np.trace(k)) / (len(x) * (len(x) - 1))
        for x in (synthetic, acquired)
        for k in [_kernel(x, x)]
    ]
    return float(sum(within) - 2 * _kernel(synthetic, acquired).mean())


def _kernel(x: Features, y: Features) -> Features:
    return (x @ y.T / x.shape[1] + 1) ** 3
