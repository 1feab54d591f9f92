"""The panel's models: what their cards show, import from a folder or a zip file, and deletion."""

import os
import zipfile

import pytest
from panel import head, run_python, small_cine_package, small_package, write_model


def test_the_model_card_is_shown_with_its_text_escaped(panel):
    panel.choose_model("inverter")
    text = panel.ui.cardText.toPlainText()
    for part in ("Fake inverter", "nothing", "Apache-2.0", "<b>&</b>", "SSIM", "0.91"):
        assert part in text
    assert panel.ui.sourceSelectorLabel.text == "T1w volume:"


def test_the_button_follows_the_target(panel, models):
    write_model(models, "flair", "FLAIR")
    panel.widget.models.fill()
    panel.ui.targetComboBox.currentIndex = panel.ui.targetComboBox.findText("FLAIR")
    assert panel.ui.applyButton.text == "Synthesize FLAIR"
    assert panel.ui.modelComboBox.currentData == "flair"


def test_a_model_of_masks_is_offered_in_no_tab(panel, models):
    path = write_model(models, "brains", "brain") / "model.json"
    path.write_text(path.read_text().replace('["brain"]', '["brain", "head"]'))
    panel.widget.models.fill()
    for box in (panel.ui.modelComboBox, panel.ui.cineModelComboBox):
        assert box.findData("brains") < 0
    assert panel.ui.targetComboBox.findText("brain") < 0


def test_without_models_the_panel_says_what_to_do(panel, models, monkeypatch):
    import shutil

    from MambaSynthLib.model import registry

    monkeypatch.setattr(registry, "shipped_models", lambda: models)
    shutil.rmtree(models)
    head()
    panel.widget.models.fill()
    assert "Import a model package" in panel.ui.cardText.toPlainText()
    assert panel.ui.applyButton.toolTip == "Import a model package first, under Models."
    assert not panel.ui.applyButton.enabled


def test_a_damaged_card_does_not_keep_the_others_from_being_shown(panel, models):
    (models / "broken" / "model.json").write_text("{")
    panel.widget.models.fill()
    assert panel.ui.modelComboBox.findData("broken") < 0
    assert panel.ui.modelComboBox.findData("inverter") >= 0


# ------------------------------------------------------------------------------------- import


@pytest.fixture
def package(tmp_path):
    """The folder of a complete package, as the library writes it."""
    pytest.importorskip("torch")
    return small_package(tmp_path).folder


def zipped(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"{folder.name}/{file.name}")
    return path


def start_import(panel, path):
    button = panel.ui.importFolderButton if path.is_dir() else panel.ui.importFileButton
    panel.stand.record.answers.insert(0, lambda _: str(path))
    button.click()
    assert panel.logic.busy


def import_model(panel, path):
    start_import(panel, path)
    panel.wait_idle(60)


def refused_import(panel, path):
    """The one dialog that an import ends in; nothing was installed, and no file is left."""
    before = len(panel.stand.record.dialogs)
    panel.expect_dialog()
    import_model(panel, path)
    assert len(panel.stand.record.dialogs) == before + 2  # which file, and why not
    assert panel.ui.statusLabel.text == "Failed; nothing was changed."
    assert panel.files_left() == []
    return panel.stand.record.dialogs[-1].text


def installed():
    from MambaSynthLib.model.registry import user_models

    return sorted(path.name for path in user_models().glob("*"))


def test_a_model_is_imported_from_a_zip_file_selected_and_deleted_again(panel, package, tmp_path):
    import qt

    import_model(panel, zipped(package, tmp_path / "tiny.zip"))
    assert panel.ui.modelComboBox.currentData == "small"
    assert panel.ui.statusLabel.text.endswith("Imported Small, untrained.")
    folder = panel.widget.models.current().folder
    assert (folder / "weights.safetensors").exists() and panel.ui.deleteModelButton.enabled
    assert panel.files_left() == []
    panel.ui.taskTabs.setCurrentIndex(2)  # where the imported model is selected
    panel.stand.record.answers.append(lambda dialog: qt.QMessageBox.Yes)
    panel.ui.deleteModelButton.click()
    panel.wait_idle(60)
    assert "Delete the model Small" in panel.stand.record.dialogs[-1].text
    assert not folder.exists() and panel.ui.modelComboBox.findData("small") < 0


def test_a_model_is_imported_from_a_folder(panel, package):
    import_model(panel, package)
    assert panel.ui.modelComboBox.currentData == "small"


def test_a_cine_model_is_imported_and_its_tab_is_shown(panel, tmp_path):
    pytest.importorskip("torch")
    import_model(panel, small_cine_package(tmp_path).folder)
    assert panel.ui.cineModelComboBox.currentData == "small-cine"
    assert panel.ui.taskTabs.currentIndex == 1


def test_an_import_loads_no_heavy_package_into_slicers_process(package, models):
    """A fresh process, whose child is the real one."""
    loaded = run_python(
        "from pathlib import Path; from panel import Panel\n"
        "panel = Panel(stand); panel.worker.command = None\n"
        f"stand.record.answers.append(lambda _: {str(package)!r})\n"
        "panel.ui.importFolderButton.click(); panel.wait_idle(50)\n"
        "assert panel.ui.modelComboBox.currentData == 'small', panel.ui.statusLabel.text\n"
        "heavy = {'torch', 'safetensors', 'jsonschema', 'onnxruntime'} & set(sys.modules)\n"
        "panel.close(); print(sorted(heavy))"
    )
    assert loaded == "[]" and installed() == ["small"]


def test_while_a_model_is_imported_its_progress_shows_and_no_second_import_starts(panel, package):
    start_import(panel, package)
    assert panel.ui.statusLabel.text == "Importing the model..."
    assert panel.ui.applyButton.text == "Cancel"
    assert not panel.ui.importFileButton.enabled and not panel.ui.importFolderButton.enabled
    panel.wait(lambda: panel.ui.progressBar.maximum == 3, 60)
    panel.wait_idle(60)
    assert panel.ui.importFileButton.enabled and panel.ui.applyButton.text == "Synthesize T2"


def test_a_cancelled_import_installs_nothing(panel, package):
    start_import(panel, package)
    panel.wait(lambda: panel.ui.progressBar.maximum == 3, 60)  # the child is at work
    panel.ui.applyButton.click()
    panel.wait_idle()
    assert "Cancelled" in panel.ui.statusLabel.text
    assert installed() == [] and panel.files_left() == []


def test_a_child_that_is_killed_during_an_import_leaves_no_model(panel, package):
    start_import(panel, package)
    panel.wait(lambda: panel.ui.progressBar.maximum == 3, 60)
    panel.expect_dialog()
    panel.worker._child.kill()
    panel.wait_idle()
    assert "ended by itself" in panel.stand.record.dialogs[-1].text
    assert installed() == [] and panel.files_left() == []


def test_of_two_models_of_one_id_the_one_found_first_is_offered(panel, models, monkeypatch):
    from panel import write_model

    other = models.parent / "other"
    card = write_model(other, "inverter") / "model.json"
    card.write_text(card.read_text().replace("Fake inverter", "Another inverter"))
    monkeypatch.setenv("MAMBASYNTH_MODELS", f"{models}{os.pathsep}{other}")
    panel.widget.models.fill()
    box = panel.ui.modelComboBox
    assert box.itemText(box.findData("inverter")) == "Fake inverter (1.0.0)"


def test_models_that_came_with_the_extension_cannot_be_deleted(panel):
    panel.choose_model("inverter")
    assert not panel.ui.deleteModelButton.enabled


def flip_a_bit(folder):
    path = folder / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_a_damaged_model_is_refused_in_a_dialog_and_leaves_nothing(panel, package):
    flip_a_bit(package)
    assert "sha256" in refused_import(panel, package)
    assert installed() == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../model.json", "leads out of the package"),
        ("/etc/model.json", "leads out of the package"),
        ("C:\\model.json", "leads out of the package"),
    ],
)
def test_a_zip_file_that_leads_out_of_its_folder_is_refused(panel, tmp_path, name, reason):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr(name, "{}")
    assert reason in refused_import(panel, tmp_path / "bad.zip")


def test_a_file_that_is_no_zip_is_refused(panel, tmp_path):
    (tmp_path / "page.zip").write_text("<html>404</html>")
    assert "is no intact zip file" in refused_import(panel, tmp_path / "page.zip")


def test_a_model_that_is_installed_already_is_refused(panel, package):
    import_model(panel, package)
    assert "exists already" in refused_import(panel, package)
    assert installed() == ["small"]


def test_a_cancelled_file_dialog_changes_nothing(panel):
    before = panel.ui.modelComboBox.count
    panel.stand.record.answers.append(lambda _: "")
    panel.ui.importFileButton.click()
    assert panel.ui.modelComboBox.count == before and not panel.logic.busy
