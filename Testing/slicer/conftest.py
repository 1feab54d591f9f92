import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture(scope="session")
def stand():
    from slicerstand.start import start

    return start()


@pytest.fixture
def scene(stand):
    """An empty scene; at the end, no slot may have raised and no prepared answer be left over."""
    stand.record.clear()
    stand.scene.Clear(0)
    yield stand.scene
    assert not stand.record.slot_errors, stand.record.slot_errors
    assert not stand.record.answers, "a prepared dialog was never shown"
