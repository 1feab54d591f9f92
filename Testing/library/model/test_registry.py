"""Which package a name means, in which folder, and what is said when there is none."""

import os
from pathlib import Path

import pytest

from MambaSynthLib.errors import ModelError
from MambaSynthLib.model import registry
from MambaSynthLib.model.package import CARD
from MambaSynthLib.model.registry import find_all, find_model, list_models, model_folders, model_for


@pytest.fixture(autouse=True)
def nothing_shipped(monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "shipped_models", lambda: tmp_path / "shipped")


def ids():
    return [package.card.id for package in list_models()]


def test_no_folder_needs_to_exist():
    assert find_all() == [] and list_models() == []


def test_packages_are_found_in_all_three_places(tmp_path, make_package, monkeypatch):
    monkeypatch.setenv(
        "MAMBASYNTH_MODELS", os.pathsep.join([str(tmp_path / "e1"), "", str(tmp_path / "e2")])
    )
    make_package(tmp_path / "e1" / "a", id="a")
    make_package(tmp_path / "e2" / "b", id="b")
    make_package(registry.user_models() / "c", id="c")
    make_package(tmp_path / "shipped" / "d", id="d")
    assert ids() == ["a", "b", "c", "d"]


def test_the_users_folder_follows_xdg_data_home(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    assert registry.user_models() == tmp_path / "user-data" / "mambasynth" / "models"
    monkeypatch.setenv("XDG_DATA_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert registry.user_models() == tmp_path / ".local/share/mambasynth/models"


@pytest.mark.parametrize(("platform", "part"), [("darwin", "Library"), ("win32", "MambaSynth")])
def test_other_platforms_have_folders_of_their_own(platform, part, monkeypatch, tmp_path):
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert part in registry.user_models().parts


def test_a_user_without_a_home_still_has_the_shipped_models(monkeypatch, tmp_path, make_package):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(Path, "home", no_home)
    make_package(tmp_path / "shipped" / "d", id="d")
    assert model_folders() == [tmp_path / "shipped"] and ids() == ["d"]
    with pytest.raises(ModelError, match="set HOME"):
        registry.user_models()


def test_the_first_of_two_packages_with_one_id_wins(tmp_path, make_package, monkeypatch):
    monkeypatch.setenv("MAMBASYNTH_MODELS", str(tmp_path / "mine"))
    mine = make_package(tmp_path / "mine" / "x", version="9.0.0")
    make_package(tmp_path / "shipped" / "x")
    assert [p.card.version for p in list_models()] == ["9.0.0"]
    assert find_model("tiny-t1w-t2w").folder == mine.folder


def test_a_broken_package_is_listed_with_its_problem_and_hurts_no_other(tmp_path, make_package):
    home = registry.user_models()
    make_package(home / "good")
    (home / "broken").mkdir()
    (home / "broken" / CARD).write_text("{")
    (home / ".half-written-1").mkdir()
    (home / ".half-written-1" / CARD).write_text("{")
    (home / "no package").mkdir()
    found = {item.folder.name: item for item in find_all()}
    assert set(found) == {"good", "broken"}
    assert found["broken"].package is None and "valid JSON" in found["broken"].problem
    assert find_model("tiny-t1w-t2w").folder == home / "good"


def test_a_model_is_found_by_its_folder(tmp_path, make_package, monkeypatch):
    package = make_package(tmp_path / "anywhere")
    assert find_model(package.folder).card == package.card
    assert find_model(str(package.folder)).card == package.card
    monkeypatch.chdir(tmp_path)
    assert find_model("anywhere").card == package.card


def test_a_folder_that_only_has_the_name_of_a_model_does_not_hide_it(
    tmp_path, make_package, monkeypatch
):
    make_package(registry.user_models() / "x")
    (tmp_path / "tiny-t1w-t2w").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_model("tiny-t1w-t2w").folder == registry.user_models() / "x"


def test_a_folder_without_a_card_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"holds no model package \(model\.json: No such file"):
        find_model(tmp_path)


def test_a_near_miss_gets_a_hint_and_a_far_one_the_list(make_package):
    make_package(registry.user_models() / "x")
    with pytest.raises(ModelError, match=r"^tiny-t1-t2: .* did you mean tiny-t1w-t2w\?$"):
        find_model("tiny-t1-t2")
    with pytest.raises(ModelError, match=r"known are tiny-t1w-t2w\.$"):
        find_model("zzz")


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "", "~", "\udcff", "../" * 400 + "x"])
def test_impossible_names_are_unknown_models(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError) as caught:
        find_model(name)
    assert len(str(caught.value)) < 400


def test_a_model_is_chosen_by_its_direction(make_package):
    home = registry.user_models()
    make_package(home / "a", id="a")
    make_package(home / "b", id="b", source_contrasts=["PDw"])
    make_package(home / "c", id="c", source_contrasts=["T2w"], target_contrasts=["T1w"])
    assert model_for(None, "T2w").card.id == "a"
    assert model_for("PDw", "T2w").card.id == "b"
    assert model_for("T2w", "T1w").card.id == "c"
    with pytest.raises(ModelError, match=r"^T2w: .* from FLAIR; installed: PDw -> T2w, T1w -> T2w"):
        model_for("FLAIR", "T2w")
    with pytest.raises(ModelError, match="^T2star: no installed model synthesizes it"):
        model_for(None, "T2star")


def test_without_any_model_the_way_to_get_one_is_named():
    with pytest.raises(ModelError, match="installed: none. Import another with 'mambasynth models"):
        model_for("T1w", "T2w")
