"""Which shipped model a plain ``synthesize`` takes, unless somebody chose another."""

import json

import pytest

from MambaSynthLib.install.own_models import choose_default
from MambaSynthLib.io.files import write_volume
from Testing.analytic_heads import analytic_head
from Testing.library.cli.command_line import called, refused

HEAD, NOISY = "cravim-head-t1w-t2w", "cravim-t1w-t2w-compact"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """No models but the shipped ones, no choices."""
    monkeypatch.delenv("MAMBASYNTH_MODELS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))


@pytest.fixture
def model_taken(tmp_path, capsys):
    """Synthesizes one slice; the id of the model that did it."""

    def taken(skull, *options):
        source = tmp_path / "T1w.nii.gz"
        write_volume(analytic_head(skull=skull)["T1w"], source, overwrite=True)
        code, said, error = called(
            capsys, "synthesize", source, "--to", "T2w", "-o", tmp_path / "out.nii.gz",
            "--slices", "20:21", "--json", *options,
        )  # fmt: skip
        assert code == 0, error
        return json.loads(said)["provenance"]["Model"]

    return taken


@pytest.mark.parametrize("skull", [True, False])
def test_a_head_and_a_brain_get_the_model_that_is_best_at_both(model_taken, skull):
    assert model_taken(skull) == HEAD


def test_draws_are_asked_of_the_model_that_has_noise(model_taken):
    assert model_taken(True, "--samples", 2) == NOISY


def test_what_the_user_names_or_chose_counts_more(model_taken):
    assert model_taken(False, "--model", NOISY) == NOISY
    choose_default(NOISY)
    assert model_taken(False, "--overwrite") == NOISY


def test_a_model_without_noise_refuses_draws(tmp_path, capsys):
    source = tmp_path / "T1w.nii.gz"
    write_volume(analytic_head()["T1w"], source)
    out = tmp_path / "out.nii.gz"
    result = called(capsys, "synthesize", source, "--to", "T2w", "-o", out, "--model", HEAD,
                    "--samples", 4)  # fmt: skip
    refused(result, HEAD, "no noise input", "samples (4)")
    assert not out.exists()
