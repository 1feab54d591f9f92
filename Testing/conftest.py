"""What all tests share: one thread for torch, and the two folders of reference data."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[1] / "../shared"


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    """Test workers run side by side, and sums in another order would change the last digits."""
    try:
        import torch
    except ImportError:  # the library's core works, and is tested, without torch
        return
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def parity() -> Path:
    """The folder of arrays computed with the published CRAViM networks."""
    return Path(__file__).parent / "data/parity"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference arrays and open data, which lies beside a developer's checkout."""
    if not SHARED.is_dir():
        pytest.skip("the folder ../shared with the reference data does not exist here")
    return SHARED
