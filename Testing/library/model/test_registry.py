"""Which package a name means, in which folder, and what is said when there is none."""

import os
from pathlib import Path

import pytest

from MambaSynthLib.errors import ModelError, RequestError
from MambaSynthLib.install.own_models import choose_default, remove_model
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


def test_packages_are_found_in_all_three_places_the_users_last(tmp_path, make_package, monkeypatch):
    monkeypatch.setenv(
        "MAMBASYNTH_MODELS", os.pathsep.join([str(tmp_path / "e1"), "", str(tmp_path / "e2")])
    )
    make_package(tmp_path / "e1" / "a", id="a")
    make_package(tmp_path / "e2" / "b", id="b")
    make_package(registry.user_models() / "c", id="c")
    make_package(tmp_path / "shipped" / "d", id="d")
    assert ids() == ["a", "b", "d", "c"]


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


@pytest.fixture
def shipped_and_another(tmp_path, make_package):
    """A shipped package, and the folder of one of the same id that computes something else."""
    shipped = make_package(tmp_path / "shipped" / "s", id="s")
    intensity = {"rule": "percentile", "upper_percentile": 99.5, "target_range": [0.0, 5.0]}
    return shipped, make_package(tmp_path / "mine" / "s", id="s", intensity=intensity).folder


@pytest.mark.parametrize("place", ["named", "own", "working folder"])
def test_the_id_of_a_shipped_model_means_that_model_whatever_lies_about(
    shipped_and_another, monkeypatch, place
):
    shipped, other = shipped_and_another
    if place == "named":
        monkeypatch.setenv("MAMBASYNTH_MODELS", str(other.parent))
    elif place == "own":
        registry.user_models().parent.mkdir(parents=True)
        other.parent.rename(registry.user_models())
    else:
        monkeypatch.chdir(other.parent)
    assert find_model("s") == shipped and model_for("T1w", "T2w") == shipped
    problems = [found.problem for found in find_all() if not found.package]
    assert len(problems) == (place != "working folder")
    assert all(text.startswith("s: is the id of a model that comes with") for text in problems)
    if place == "working folder":
        assert find_model("./s").sha256 != shipped.sha256


def test_a_copy_of_a_shipped_model_is_no_other_one(tmp_path, make_package, monkeypatch):
    make_package(tmp_path / "shipped" / "s", id="s")
    copy = make_package(tmp_path / "mine" / "s", id="s")
    monkeypatch.setenv("MAMBASYNTH_MODELS", str(copy.folder.parent))
    assert [found.problem for found in find_all()] == [""] and find_model("s") == copy


def test_a_damaged_shipped_model_is_not_replaced_by_another_of_its_id(shipped_and_another):
    shipped, other = shipped_and_another
    (shipped.folder / CARD).write_text("{")
    registry.user_models().parent.mkdir(parents=True)
    other.parent.rename(registry.user_models())
    assert ids() == [] and len(find_all()) == 2


@pytest.mark.skipif(os.name != "posix", reason="makes pipes")
@pytest.mark.timeout(20)
def test_pipes_in_the_users_folder_hold_nothing_up(make_package):
    make_package(registry.user_models() / "sound", id="sound")
    (registry.user_models() / "piped").mkdir()
    os.mkfifo(registry.user_models() / "piped" / CARD)
    assert [found.problem for found in find_all()][0].startswith("piped: holds no model package")
    assert ids() == ["sound"]
    os.mkfifo(registry.user_models() / registry.CHOICES)
    with pytest.raises(ModelError, match="does not hold a choice of models"):
        model_for("T1w", "T2w")


def test_an_imported_model_serves_only_what_no_shipped_one_does(tmp_path, make_package):
    make_package(registry.user_models() / "a", id="a-imported")
    make_package(registry.user_models() / "p", id="p-imported", source_contrasts=["PDw"])
    make_package(tmp_path / "shipped" / "z", id="z-shipped")
    assert model_for("T1w", "T2w").card.id == model_for(None, "T2w").card.id == "z-shipped"
    assert model_for("PDw", "T2w").card.id == "p-imported"


def test_the_chosen_model_is_taken_for_its_direction_alone(tmp_path, make_package):
    make_package(registry.user_models() / "a", id="a")
    make_package(tmp_path / "shipped" / "z", id="z")
    make_package(tmp_path / "shipped" / "y", id="y", source_contrasts=["PDw"])
    choose_default("a")
    assert model_for("T1w", "T2w").card.id == model_for(None, "T2w").card.id == "a"
    assert model_for("PDw", "T2w").card.id == "y"
    choose_default("z")
    assert model_for("T1w", "T2w").card.id == "z"


def test_a_chosen_model_that_is_gone_is_not_replaced_in_silence(tmp_path, make_package):
    mine = make_package(registry.user_models() / "a", id="a")
    make_package(tmp_path / "shipped" / "z", id="z")
    choose_default("a")
    mine.folder.rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="^a: is the default .* not installed; .*models default z"):
        model_for("T1w", "T2w")
    assert find_model("z").card.id == "z"


def test_removing_the_chosen_model_gives_the_shipped_one_back(tmp_path, make_package):
    folder = make_package(registry.user_models() / "folder", id="a").folder
    make_package(tmp_path / "shipped" / "z", id="z")
    choose_default("a")
    assert remove_model("a") == folder and not folder.exists()
    assert list(folder.parent.iterdir()) == [folder.parent / registry.CHOICES]
    assert model_for("T1w", "T2w").card.id == "z" and registry.chosen_models() == {}


def test_a_broken_own_package_is_removed_by_its_folders_name(make_package):
    folder = make_package(registry.user_models() / "odd").folder
    (folder / CARD).write_text("{")
    remove_model("odd")
    assert not folder.exists()


def test_of_a_linked_package_only_the_link_is_removed(tmp_path, make_package):
    package = make_package(tmp_path / "elsewhere")
    link = registry.user_models() / "link"
    link.parent.mkdir(parents=True)
    link.symlink_to(package.folder, target_is_directory=True)
    remove_model(package.card.id)
    assert package.folder.is_dir() and not link.exists()


def test_what_is_not_the_users_own_is_not_removed(tmp_path, make_package, monkeypatch):
    monkeypatch.setenv("MAMBASYNTH_MODELS", str(tmp_path / "named"))
    for place in ("shipped", "named"):
        make_package(tmp_path / place / "m", id=place)
        with pytest.raises(ModelError, match=f"^{place}: lies in .*{place}, and only models in"):
            remove_model(place)
        assert find_model(place).folder.is_dir()
    with pytest.raises(ModelError, match="^nothing: is no model in .*; see 'mambasynth models"):
        remove_model("nothing")


def test_a_folder_is_no_default(tmp_path, make_package):
    folder = make_package(tmp_path / "anywhere").folder
    with pytest.raises(RequestError, match="is a folder; give the id of an installed model"):
        choose_default(str(folder))
    assert registry.chosen_models() == {}


@pytest.mark.parametrize("content", ["{", "[]", '{"T1w -> T2w": 3}', "\udcff"])
def test_a_damaged_choice_is_named_with_its_file(content, tmp_path, make_package):
    make_package(tmp_path / "shipped" / "z", id="z")
    path = registry.user_models() / registry.CHOICES
    path.parent.mkdir(parents=True)
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelError, match=r"^defaults\.json in the folder of your models: does not"):
        model_for("T1w", "T2w")


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
    with pytest.raises(ModelError, match=r"holds no model package \(model\.json: does not exist"):
        find_model(tmp_path)


def test_a_near_miss_gets_a_hint_and_a_far_one_the_list(make_package):
    make_package(registry.user_models() / "x")
    with pytest.raises(ModelError, match=r"^tiny-t1-t2: .* did you mean tiny-t1w-t2w\?$"):
        find_model("tiny-t1-t2")
    with pytest.raises(ModelError, match=r"name one of tiny-t1w-t2w\.$"):
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
