"""The model that comes with MambaSynth, on a head from formulas and on all real heads at hand."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from MambaSynthLib.engine import Engine
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import read_volume
from MambaSynthLib.model.package import read_package, shipped_models
from MambaSynthLib.report.evaluation import evaluate
from Testing.analytic_heads import analytic_head

ROOT = Path(__file__).resolve().parents[2]
HEADS = ROOT / "../shared/data/brain_t1_t2"
FILES = sorted(path.relative_to(HEADS).as_posix() for path in HEADS.rglob("*.nii.gz"))


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(read_package(shipped_models() / "cravim-t1w-t2w-compact"), "cpu")


@pytest.fixture(scope="module")
def head(engine) -> dict[str, Volume]:
    """A whole head: source, exactly known reference and, in one step, the synthetic volume."""
    computed = analytic_head()
    synthetic = engine.synthesize({"T1w": computed["T1w"]}, steps=1).volumes["T2w"]
    return {"source": computed["T1w"], "reference": computed["T2w"], "synthetic": synthetic}


def test_the_synthetic_head_beats_both_trivial_baselines(head):
    """In SSIM, PSNR and MSE. NMI is left out: the source shares all its own detail with the target,
    and the inverted source gains from its coarse bins; the card says so.
    """
    rows = evaluate(head["synthetic"], head["reference"], source=head["source"]).rows
    synthetic, *others = rows
    baselines = [row for row in others if row.name in ("source itself", "source inverted")]
    assert len(baselines) == 2
    for baseline in baselines:
        assert synthetic.ssim > baseline.ssim
        assert synthetic.psnr > baseline.psnr
        assert synthetic.mse < baseline.mse


def test_a_synthetic_brain_looks_t2_weighted_fluid_bright_white_matter_dark(engine):
    source = analytic_head(skull=False)["T1w"]
    synthetic = engine.synthesize({"T1w": source}, steps=1).volumes["T2w"].array
    brain = source.array != 0
    dark, bright = np.percentile(source.array[brain], [5, 80])
    fluid, white = brain & (source.array <= dark), brain & (source.array >= bright)
    assert np.median(synthetic[fluid]) > 1.5 * np.median(synthetic[white])
    assert synthetic[~brain].mean() < 0.01 * np.median(synthetic[fluid])


def test_the_card_scores_beat_source_inversion_and_mean_target_for_both_patients(engine):
    """The best linear map of the source has seen the target and is nearer; the card shows it."""
    both = [s for s in engine.package.card.scores if s["data"].startswith("patient")]
    assert len(both) == 2
    for score in both:
        rows = {row["name"]: row for row in score["rows"]}
        assert "best linear map of source" in rows and score["slices"] > 100
        trivial = [
            rows[name]
            for name in ("source itself", "source inverted", "mean target of the training set")
        ]
        ours = [row for name, row in rows.items() if name.startswith(("synthetic", "twin"))]
        assert ours
        for row in ours:
            for other in trivial:
                for measure in ("ssim", "psnr", "nmi"):
                    assert row[measure] > other[measure], (score["data"], row["name"], measure)
                assert row["mse"] < other["mse"]


def test_the_card_names_the_people_behind_the_training_images(engine):
    assert any(re.search(r"Lesjak", line) for line in engine.package.card.extra["attribution"])


@pytest.mark.parametrize(
    "name",
    [
        name if "T1" in name else pytest.param(name, marks=pytest.mark.slow)
        for name in FILES or ["../shared is not here"]
    ],
)
def test_each_real_head_keeps_its_grid(engine, shared, name):
    source = read_volume(shared / "data/brain_t1_t2" / name)
    levels = source.shape[source.axis_codes.index("S" if "S" in source.axis_codes else "I")]
    slices = (levels // 2, levels // 2 + 1)
    synthetic = engine.synthesize({"T1w": source}, steps=1, slices=slices).volumes["T2w"]
    assert synthetic.shape == source.shape
    assert np.array_equal(synthetic.affine, source.affine)
    assert np.isfinite(synthetic.array).all()
    assert synthetic.array.max() > synthetic.array.min()
