"""A training run is scored by the engine and becomes a package that states its scores."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from MambaSynthLib.engine import Engine
from MambaSynthLib.errors import FileError, ModelError, RequestError
from MambaSynthLib.metrics import evaluate
from MambaSynthLib.package import read_package
from MambaSynthLib.volume import Volume
from training import export as export_module
from training import score as score_module
from training.cravim import train
from training.cravim.recipe import read_recipe
from training.cravim.record import new_record, write_record
from training.cravim.state import State
from training.export import Description, averaged_weights, draft, export
from training.score import score, setting

DESCRIPTION = Description(
    id="tiny",
    version="1.2.3",
    title="A tiny model",
    trained_on="Random numbers of nobody.",
    attribution=("Numbers: the generator of NumPy.",),
    default_steps=2,
    default_samples=3,
)
SCORES = [
    {
        "data": "patient 99",
        "command": "python -m training.score RUN",
        "rows": [
            {"name": "source itself", "ssim": 0.51234, "psnr": 11.5, "nmi": 1.1, "mse": 0.7},
            {"name": "synthetic", "ssim": 0.87654, "psnr": 21.34, "nmi": 1.2345, "mse": 0.125},
        ],
    }
]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """What the training leaves of an untrained, very small network."""
    folder = tmp_path_factory.mktemp("runs") / "Run_1"
    folder.mkdir()
    recipe = read_recipe(Path(train.__file__).parent / "compact.toml")
    recipe = replace(
        recipe,
        network=replace(recipe.network, ngf=4, n_blocks=1, n_attentions=3),
        discriminator_width=2,
        grid=replace(recipe.grid, size=(32, 32)),
    )
    state = State.fresh(recipe)
    with torch.no_grad():  # so that averaged and raw weights can be told apart
        for parameter in state.averaged.parameters():
            parameter.add_(0.01)
    state.save(folder / "last.pt")
    write_record(
        folder, {**new_record(recipe, Path("tiny.toml"), torch.device("cpu")), "minutes": 41.6}
    )
    return folder


@pytest.fixture(scope="module")
def pair() -> tuple[Volume, Volume]:
    """A small T1w volume with four slices of tissue, and its T2w reference."""
    source = np.zeros((30, 28, 5), dtype=np.float32)
    source[4:26, 3:25, :4] = np.random.default_rng(0).uniform(20, 90, (22, 22, 4))
    affine = np.diag([-1.0, -1.0, 3.0, 1.0])
    target = np.where(source > 0, 100 - source, 0)
    return Volume(source, affine, "source"), Volume(target, affine, "target")


# ---- export


def test_a_run_without_scores_is_not_exported(run, tmp_path):
    with pytest.raises(RequestError, match="has no scores; run training.score first"):
        export(run, tmp_path / "package", DESCRIPTION, [])
    assert not (tmp_path / "package").exists()


def test_an_exported_package_can_be_read_and_says_what_it_was_told(run, tmp_path):
    export(run, tmp_path / "package", DESCRIPTION, SCORES)
    card = read_package(tmp_path / "package").card
    assert (card.id, card.version, card.title) == ("tiny", "1.2.3", "A tiny model")
    assert card.direction == "T1w -> T2w"
    assert (card.sampling.default_steps, card.sampling.default_samples) == (2, 3)
    assert card.network["ngf"] == 4
    assert card.scores == SCORES
    assert card.extra["training"]["minutes"] == 41.6
    assert card.extra["training"]["recipe"]["optimization"]["ema"] == 0.995


def test_the_weights_are_the_averaged_ones_in_float16(run, tmp_path):
    package = export(run, tmp_path / "package", DESCRIPTION, SCORES)
    weights = package.read_weights()
    checkpoint = torch.load(run / "last.pt", weights_only=True)
    names = set(checkpoint["a_to_b"])
    assert set(weights) == names
    for name in names:
        raw, array = checkpoint["a_to_b"][name], weights[name]
        if not raw.is_floating_point():
            assert array.dtype == np.int64
            continue
        assert array.dtype == np.float16
        moved = 0.0 if name.endswith(("running_mean", "running_var")) else 0.01
        np.testing.assert_allclose(array, raw.numpy() + moved, rtol=1e-3, atol=1e-6)


def test_the_engine_runs_an_exported_package(run, tmp_path, pair):
    engine = Engine(export(run, tmp_path / "package", DESCRIPTION, SCORES), "cpu")
    synthesis = engine.synthesize({"T1w": pair[0]})
    volume = synthesis.volumes["T2w"]
    assert volume.shape == pair[0].shape
    assert np.isfinite(volume.array).all() and np.ptp(volume.array) > 0
    assert (synthesis.provenance.steps, synthesis.provenance.samples) == (2, 3)
    assert synthesis.provenance.model_id == "tiny"


def test_the_card_for_people_holds_every_number_and_the_warning(run, tmp_path):
    text = export(run, tmp_path / "package", DESCRIPTION, SCORES).describe()
    assert "NOT FOR DIAGNOSIS" in text
    for told in ("0.5123", "11.50", "0.8765", "21.34", "1.2345", "0.1250", "patient 99",
                 "source itself", "Random numbers of nobody.", "42 minutes", "tiny",
                 "Numbers: the generator of NumPy.", "ngf 4", "1 residual blocks"):  # fmt: skip
        assert told in text, told
    values = sum(
        value.numel()
        for value in torch.load(run / "last.pt", weights_only=True)["a_to_b"].values()
        if value.is_floating_point()
    )
    assert f"{values:,} values" in text


def test_an_existing_package_is_not_overwritten(run, tmp_path):
    export(run, tmp_path / "package", DESCRIPTION, SCORES)
    before = (tmp_path / "package/model.json").read_bytes()
    with pytest.raises(ModelError, match="exists already"):
        export(run, tmp_path / "package", DESCRIPTION, SCORES)
    assert (tmp_path / "package/model.json").read_bytes() == before


def test_a_draft_for_scoring_needs_no_scores(run, tmp_path):
    card = draft(run, tmp_path / "draft").card
    assert card.id == "draft"
    assert card.scores == []


@pytest.mark.parametrize("content", [None, b"", b"no checkpoint", b"PK\x03\x04 damaged"])
def test_a_run_without_a_readable_checkpoint_is_told(tmp_path, content):
    if content is not None:
        (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(FileError, match="last.pt: is no readable checkpoint.*train first") as found:
        averaged_weights(tmp_path)
    assert "\n" not in str(found.value)


def test_a_checkpoint_of_something_else_is_told(tmp_path):
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "last.pt")
    with pytest.raises(FileError, match="is no readable checkpoint .*averaged"):
        averaged_weights(tmp_path)


def test_weights_too_large_for_float16_are_refused_by_name(tmp_path):
    averaged = {"a_to_b.module.conv1.weight": torch.tensor([1e5])}
    torch.save({"averaged": averaged}, tmp_path / "last.pt")
    with pytest.raises(FileError, match="conv1.weight holds values that float16 does not"):
        averaged_weights(tmp_path)


def test_a_run_that_did_not_start_is_told(run, tmp_path):
    (tmp_path / "last.pt").write_bytes((run / "last.pt").read_bytes())
    with pytest.raises(FileError, match="run.json: cannot be read .*finish the training first"):
        export(tmp_path, tmp_path / "package", DESCRIPTION, SCORES)


def test_the_command_exports_and_tells_where(run, tmp_path, capsys):
    (tmp_path / "scores.json").write_text(json.dumps(SCORES[0]))
    folder = tmp_path / "package"
    words = [str(run), str(folder), "--id", "tiny", "--title", "Tiny", "--trained-on", "nobody"]
    assert export_module.main(words) == 2  # no scores
    assert capsys.readouterr().err.startswith("error: ")
    assert export_module.main([*words, "--scores", str(tmp_path / "scores.json")]) == 0
    assert str(folder) in capsys.readouterr().out
    assert read_package(folder).card.scores == SCORES


# ---- scores


@pytest.fixture(scope="module")
def engine(run, tmp_path_factory) -> Engine:
    return Engine(draft(run, tmp_path_factory.mktemp("draft") / "draft"), "cpu")


def test_the_table_starts_with_the_baselines_and_has_a_row_for_each_setting(engine, pair):
    rows = score(engine, *pair, [(1, 1), (2, 1), (1, 3)], [0, 7])
    assert [row["name"] for row in rows] == [
        "source itself",
        "source inverted inside the mask",
        "synthetic, 1 step x 1 draw",
        "synthetic, 2 steps x 1 draw",
        "synthetic, 1 step x 3 draws",
    ]
    assert all(np.isfinite([row[name] for name in ("ssim", "psnr", "nmi", "mse")]).all()
               for row in rows)  # fmt: skip
    for baseline in rows[:2]:
        assert "seeds" not in baseline
    for row in rows[2:]:
        assert row["seeds"] == [0, 7]
        assert row["ssim_std_over_seeds"] > 0
    assert rows[1]["ssim"] > 0.95 > rows[0]["ssim"]  # the target is the inverted source


def test_a_row_is_the_mean_over_its_seeds_of_what_the_engine_synthesizes(engine, pair):
    source, reference = pair
    found = []
    for seed in (3, 4):
        volume = engine.synthesize({"T1w": source}, steps=2, samples=1, seed=seed).volumes["T2w"]
        found.append(evaluate(volume, reference).rows[0])
    row = score(engine, source, reference, [(2, 1)], [3, 4])[-1]
    for name in ("ssim", "psnr", "nmi", "mse"):
        assert row[name] == pytest.approx(sum(getattr(one, name) for one in found) / 2)
    assert row["ssim_std_over_seeds"] == pytest.approx(abs(found[0].ssim - found[1].ssim) / 2)


def test_one_seed_has_no_spread_and_gives_the_same_row_twice(engine, pair):
    first, second = (score(engine, *pair, [(1, 1)], [5]) for _ in range(2))
    assert first == second
    assert first[-1]["ssim_std_over_seeds"] == 0


def test_a_setting_is_written_as_steps_x_samples():
    assert setting("4x1") == (4, 1)
    with pytest.raises(ValueError):
        setting("4")


def test_the_command_writes_a_record_that_the_export_takes(run, pair, tmp_path, capsys):
    paths = []
    for volume in pair:
        paths.append(str(tmp_path / f"{volume.name}.nii.gz"))
        nib.save(nib.Nifti1Image(volume.array, volume.affine), paths[-1])
    out = tmp_path / "scores.json"
    words = [str(run), "--pair", *paths, "--data", "nobody", "--out", str(out)]
    assert score_module.main([*words, "--settings", "1x1", "--seeds", "0", "1"]) == 0
    record = json.loads(out.read_text())
    assert record["data"] == "nobody" and len(record["rows"]) == 3
    assert record["rows"][-1]["seeds"] == [0, 1]
    text = export(run, tmp_path / "package", DESCRIPTION, [record]).describe()
    assert f"{record['rows'][-1]['ssim']:.4f}" in text


def test_the_command_tells_a_users_error_in_one_line(run, tmp_path, capsys):
    missing = str(tmp_path / "no.nii.gz")
    words = [str(run), "--pair", missing, missing, "--data", "x", "--out", str(tmp_path / "s")]
    assert score_module.main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "no.nii.gz" in error and error.count("\n") == 1
    assert not (tmp_path / "s").exists()
