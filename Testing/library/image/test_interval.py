"""The half-width of the interval: through the engine, both backends and the command."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from MambaSynthLib.commands.synthesize import _suits
from MambaSynthLib.engine import Engine
from MambaSynthLib.errors import ModelError
from MambaSynthLib.io.files import read_volume, write_volume
from MambaSynthLib.io.marks import sidecar_of
from MambaSynthLib.model.package import read_package
from Testing.library.image.test_overlap import SIZES, untrained

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def package(tmp_path_factory, make_package):
    """A package whose network says how wrong it may be; the card doubles what it says."""
    folder = tmp_path_factory.mktemp("models") / "doubting"
    return untrained(make_package, folder, SIZES | {"interval": 1}, sampling={"interval": 2.0})


def changed_card(package, folder, **entries):
    shutil.copytree(package.folder, folder)
    card = json.loads((folder / "model.json").read_text())
    for name, values in entries.items():
        card[name] |= values
    (folder / "model.json").write_text(json.dumps(card))
    (folder / "package.sha256").unlink()
    return folder


def synthesis(package, head, backend="torch", **options):
    return Engine(package, "cpu", backend).synthesize({"T1w": head}, **options)


def test_the_half_width_is_in_the_unit_of_the_target_and_the_air_has_none(package, head):
    found = synthesis(package, head)
    half_width, image = found.spreads["T2w"].array, found.volumes["T2w"].array
    tissue = image > 0
    assert half_width[tissue].min() > 1 and half_width.max() <= 1000
    assert half_width[head.array == 0].max() == 0
    assert np.array_equal(found.spreads["T2w"].affine, head.affine)


def test_the_cards_factor_widens_the_interval_and_leaves_the_image(package, head, tmp_path):
    folder = changed_card(package, tmp_path / "plain", sampling={"interval": 1.0})
    twice, once = synthesis(package, head), synthesis(read_package(folder), head)
    assert np.array_equal(twice.volumes["T2w"].array, once.volumes["T2w"].array)
    np.testing.assert_allclose(
        twice.spreads["T2w"].array, 2 * once.spreads["T2w"].array, rtol=1e-3, atol=1e-2
    )


def test_both_backends_agree_on_it(package, head):
    pytest.importorskip("onnxruntime")
    first, second = (synthesis(package, head, b).spreads["T2w"] for b in ("torch", "onnxruntime"))
    np.testing.assert_allclose(first.array / 1000, second.array / 1000, atol=1e-4)


def test_neither_batch_nor_range_changes_a_bit_of_it(package, head):
    whole = synthesis(package, head, batch=1).spreads["T2w"].array
    part = synthesis(package, head, batch=3, slices=(2, 5)).spreads["T2w"].array
    assert np.array_equal(part[:, :, 2:5], whole[:, :, 2:5])


def test_the_command_writes_it_without_noise_draws_and_says_what_it_is(package, head, tmp_path):
    from MambaSynthLib.cli import main

    write_volume(head, tmp_path / "head.nii.gz")
    arguments = [str(tmp_path / "head.nii.gz"), "--to", "T2w", "-o", str(tmp_path / "t2.nii.gz"),
                 "--uncertainty", str(tmp_path / "u.nii.gz"), "--model", str(package.folder),
                 "--device", "cpu", "--force"]  # fmt: skip
    assert main(["synthesize", *arguments]) == 0
    half_width = read_volume(tmp_path / "u.nii.gz", allow_synthetic=True)
    np.testing.assert_allclose(
        half_width.array, synthesis(package, head).spreads["T2w"].array, atol=0.1
    )
    record = json.loads(sidecar_of(tmp_path / "u.nii.gz").read_text())
    assert "half-width of the interval" in record["Description"]


def test_a_model_without_noise_serves_where_it_knows_its_errors(package, tmp_path):
    from argparse import Namespace

    asked = _suits(Namespace(uncertainty="u.nii.gz", samples=None, steps=None))
    draws = _suits(Namespace(uncertainty=None, samples=4, steps=None))
    folder = changed_card(package, tmp_path / "sure", network={"interval": 0})
    assert asked(package.card) and not asked(read_package(folder).card)
    assert not draws(package.card)


@pytest.mark.parametrize("factor", [0, 101, -1])
def test_a_factor_that_makes_no_interval_is_refused(package, tmp_path, factor):
    folder = changed_card(package, tmp_path / "p", sampling={"interval": factor})
    with pytest.raises(ModelError, match=f"sampling.interval is {factor}"):
        read_package(folder)
