"""Cut the arrays of Testing/data/parity out of the full set that the published networks gave.

    python -m Testing.data.make_parity FULL.npz

The full set takes 956 kB and most of it is noise, which does not compress. What is left out, and
why each claim stays, is told in parity/README.md.
"""

from __future__ import annotations

import io
import lzma
import sys
from pathlib import Path

import numpy as np

from MambaSynthLib.methods.diffusion import Schedule

PLACE = Path(__file__).resolve().parent / "parity" / "cravim_parity.npz.xz"
KEPT = ("generator_out_40x56", "discriminator_", "schedule_", "posterior_", "train_loss_",
        "train_gradsum_", "train_t_")  # fmt: skip
XZ = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 0, "lp": 2, "pb": 2}]

Arrays = dict[str, np.ndarray]


def rounded(array: np.ndarray) -> np.ndarray:
    """To multiples of 2^-16: moves the results less than float32 arithmetic itself does."""
    return np.asarray(np.round(array * 2.0**16) / 2.0**16, dtype=np.float32)


def sampling(full: Arrays) -> Arrays:
    """One of the two images: a sampler treats them alone. The last estimate is the result."""
    names = ("sampling_source", "sampling_noise_initial", "sampling_noise_steps_t3_t2_t1",
             "sampling_x0_per_step")  # fmt: skip
    return {name: rounded(full[name][..., :1, :, :, :]) for name in names}


def second_noise(full: Arrays, draw: str, first: np.ndarray) -> np.ndarray:
    """eps' that with ``first`` as eps gives the noisy image that the published draw gave.

    x_{t+1} = a (signal x + noise eps) + sigma eps', so only a noise eps + sigma eps' matters.
    """
    schedule, t = Schedule(), full[f"train_t_{draw}"]
    a, sigma = (table[t + 1].reshape(-1, 1, 1, 1) for table in (schedule.a, schedule.sigma))
    share = a * schedule.noise[t].reshape(-1, 1, 1, 1)
    published, replaced = full[f"train_{draw}_eps"].astype(float), first.astype(float)
    return rounded(full[f"train_{draw}_eps_next"] + share / sigma * (published - replaced))


def training(full: Arrays) -> Arrays:
    """Inputs of the iteration, and every fourth row and column of its synthetic images."""
    kept = {f"train_{name}": rounded(full[f"train_{name}"])
            for name in ("x_a", "x_b", "noise_a", "noise_b")}  # fmt: skip
    for name in ("x_ab", "x_ba"):
        kept[f"train_{name}_every_4th"] = full[f"train_{name}"][..., ::4, ::4]
    for draw, start in (("cyc_a", "a"), ("cyc_b", "b"), ("rdn_ab", "a"), ("rdn_ba", "b")):
        first = kept[f"train_noise_{start}"]
        kept[f"train_{draw}_eps_next"] = second_noise(full, draw, first)
    return kept


def smallest(full: Arrays) -> Arrays:
    """What the tests of parity read."""
    return (
        {name: array for name, array in full.items() if name.startswith(KEPT)}
        | {f"{name}_every_16th": full[f"{name}_9x7_channels_last"][..., ::16]
           for name in ("evss_out", "es2d_out")}
        | sampling(full)
        | training(full)
    )  # fmt: skip


def main(path: Path) -> None:
    with np.load(path) as arrays:
        full = dict(arrays)
    content = io.BytesIO()
    np.savez(content, **smallest(full))
    PLACE.write_bytes(lzma.compress(content.getvalue(), filters=XZ))
    print(f"{PLACE}: {PLACE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
