"""The tab Models: what is installed, its card, what comes from an address, defaults and updates."""

import http.server
import json
import shutil
import threading

import pytest
from panel import dialog_after, head, small_package, write_model
from test_panel_models import import_model, installed, zipped


@pytest.fixture
def catalog(panel):
    panel.ui.taskTabs.setCurrentIndex(2)
    return panel


def choose(panel, model_id):
    entries = panel.widget.models.panel.catalog._entries
    panel.ui.catalogList.setCurrentRow([entry.key for entry in entries].index(model_id))


def rows(panel):
    box = panel.ui.catalogList
    return [box.item(row).text() for row in range(box.count)]


def test_every_model_is_listed_with_its_direction_and_where_it_comes_from(catalog):
    (row,) = [row for row in rows(catalog) if row.startswith("Fake inverter ")]
    assert row == "Fake inverter 1.0.0\nT1w -> T2w, in a folder of models"
    assert any("part of MambaSynth" in row for row in rows(catalog))
    assert any("Fake blender 1.0.0" in row and "T1w -> cine" in row for row in rows(catalog))
    assert [row.endswith("default") for row in rows(catalog) if "T1w -> T2w" in row][:2] == [
        True,
        False,
    ]


def test_the_whole_card_is_shown_with_its_limits_first_and_in_a_window_of_any_size(catalog, models):
    package = models / "inverter"
    card = json.loads((package / "model.json").read_text())
    (package / "model.json").write_text(json.dumps(card | {"limits": "It cannot see lesions."}))
    (package / "README.md").write_text("# The inverter\n\nIts whole story.\n")
    catalog.widget.models.fill()
    choose(catalog, "inverter")
    text = catalog.ui.catalogCard.toPlainText()
    order = [text.index(part) for part in ("cannot do", "see lesions", "The inverter", "story")]
    assert order == sorted(order) and "Not for diagnosis" in text
    catalog.ui.openCardButton.click()
    window = catalog.widget.catalog._window
    assert window.visible and window.toPlainText() == text and window.isWindow()
    assert window.minimumWidth == 0 and window.maximumHeight > 10_000
    choose(catalog, "slow")
    assert "has no card to read" in catalog.ui.catalogCard.toPlainText()


def test_in_the_tab_of_the_models_nothing_is_synthesized_and_the_task_is_remembered(catalog):
    ui = catalog.ui
    head()
    catalog.events()
    own = [catalog.widget.results.own.dicomButton, catalog.widget.several.own.severalSection]
    theirs = [ui.applyButton, ui.previewButton, ui.sampleButton, *own]
    catalog.module.widgetRepresentation().show()
    assert not any(widget.isVisible() for widget in theirs)
    ui.taskTabs.setCurrentIndex(0)
    assert all(widget.isVisible() for widget in theirs)
    assert catalog.widget.parameters.get("task") == "contrast"


def test_a_model_is_made_the_default_and_listed_and_offered_first(catalog, models, tmp_path):
    pytest.importorskip("torch")
    small_package(models)
    catalog.worker.command = None  # the real one
    catalog.widget.models.fill()
    assert catalog.ui.modelComboBox.itemData(0) != "small"
    choose(catalog, "small")
    catalog.ui.defaultModelButton.click()
    catalog.wait_idle(60)
    assert catalog.stand.record.dialogs == []
    assert catalog.ui.modelComboBox.itemData(0) == "small"
    (row,) = [row for row in rows(catalog) if row.startswith("Small, untrained")]
    assert row.endswith("default")
    choose(catalog, "small")
    assert not catalog.ui.defaultModelButton.enabled


def test_a_damaged_choice_of_defaults_does_not_keep_the_panel_from_its_models(catalog, models):
    folder = models.parent / "home" / "mambasynth" / "models"
    folder.mkdir(parents=True)
    (folder / "defaults.json").write_text("[")
    catalog.widget.models.fill()
    assert any(row.startswith("Fake inverter") for row in rows(catalog))


# ----------------------------------------------------------------------------- from an address


class Site(http.server.ThreadingHTTPServer):
    """A publisher's server on this computer, where http is as good as https."""

    def __init__(self, folder):
        class Files(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *arguments):
                super().__init__(*arguments, directory=str(folder))

            def log_message(self, *_):
                """The tests' output stays their own."""

        super().__init__(("127.0.0.1", 0), Files)
        self.address = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture
def site(tmp_path):
    pytest.importorskip("torch")
    folder = tmp_path / "site"
    folder.mkdir()
    zipped(small_package(tmp_path).folder, folder / "small.zip")
    site = Site(folder)
    yield site
    site.shutdown()
    site.server_close()


def offers(models):
    return list((models.parent / "home" / "mambasynth" / "offers").glob("*"))


def fetch(panel, address, answer="Yes"):
    """Click, wait, and answer the question whether the file is trusted; its text, where asked."""
    import qt

    before = len(panel.stand.record.dialogs)
    panel.stand.record.answers.append(lambda dialog: getattr(qt.QMessageBox, answer))
    panel.ui.addressEdit.text = address
    panel.ui.fetchButton.click()
    panel.wait(lambda: not panel.stand.record.answers, 60)
    panel.wait_idle(60)
    return panel.stand.record.dialogs[before].text


def test_a_model_from_an_address_is_installed_once_its_sha256_was_seen(catalog, site, models):
    import hashlib

    sha256 = hashlib.sha256((models.parent / "site" / "small.zip").read_bytes()).hexdigest()
    question = fetch(catalog, f"{site.address}/small.zip")
    assert sha256 in question and "Small, untrained 1.2.3 (T1w -> T2w)" in question
    assert "states no limits" in question and "It replaces" not in question
    assert installed() == ["small"] and offers(models) == []
    assert catalog.ui.statusLabel.text.endswith("Imported Small, untrained.")
    assert catalog.ui.taskTabs.currentIndex == 0
    assert catalog.ui.modelComboBox.currentData == "small"


def test_who_does_not_trust_it_has_nothing_installed_and_nothing_kept(catalog, site, models):
    fetch(catalog, f"{site.address}/small.zip", answer="No")
    assert installed() == [] and offers(models) == []
    assert catalog.ui.statusLabel.text == "Nothing was installed."


@pytest.mark.parametrize(
    ("path", "why"),
    [("missing.zip", "404"), ("page.zip", "page.zip: is no intact zip file")],
)
def test_what_is_no_model_at_an_address_is_told_and_nothing_is_kept(
    catalog, site, models, path, why
):
    (models.parent / "site" / "page.zip").write_text("<html>log in</html>")
    catalog.ui.addressEdit.text = f"{site.address}/{path}"
    dialog = dialog_after(catalog, catalog.ui.fetchButton.click)
    assert why in dialog.text and installed() == [] and offers(models) == []


def test_an_open_connection_is_refused(catalog):
    catalog.worker.command = None
    catalog.ui.addressEdit.text = "http://example.org/model.zip"
    dialog = dialog_after(catalog, catalog.ui.fetchButton.click)
    assert "is not an https address" in dialog.text


def test_without_an_address_there_is_nothing_to_fetch(catalog):
    assert not catalog.ui.fetchButton.enabled
    catalog.ui.addressEdit.text = " "
    assert not catalog.ui.fetchButton.enabled
    catalog.ui.addressEdit.text = "https://x"
    assert catalog.ui.fetchButton.enabled


# -------------------------------------------------------------------------------------- updates


def publish(folder, version):
    """The site's model in another version."""
    from Testing.model_packages import contrast_card, random_package

    shutil.rmtree(folder / "new", ignore_errors=True)
    card = contrast_card(id="small", title="Small, untrained", version=version)
    return zipped(random_package(folder / "new" / "small", card).folder, folder / "small.zip")


def test_a_model_from_an_address_is_updated_from_there(catalog, site, models):
    fetch(catalog, f"{site.address}/small.zip")
    catalog.ui.taskTabs.setCurrentIndex(2)
    choose(catalog, "small")
    catalog.ui.updateModelButton.click()
    catalog.wait_idle(60)
    catalog.events()
    assert "the version at its address is installed" in catalog.ui.statusLabel.text
    publish(models.parent / "site", "2.0.0")
    import qt

    catalog.stand.record.answers.append(lambda dialog: qt.QMessageBox.Yes)
    catalog.ui.updateModelButton.click()
    catalog.wait(lambda: not catalog.stand.record.answers, 60)
    catalog.wait_idle(60)
    assert "It replaces version 1.2.3." in catalog.stand.record.dialogs[-1].text
    assert catalog.widget.models.current().version == "2.0.0" and installed() == ["small"]
    assert offers(models) == []


def test_another_version_from_a_file_replaces_the_installed_one_only_when_told_to(
    catalog, site, models, tmp_path
):
    import qt

    import_model(catalog, tmp_path / "site" / "small.zip")
    newer = publish(tmp_path / "site", "2.0.0")
    answers = catalog.stand.record.answers
    for answer, version in (("No", "1.2.3"), ("Yes", "2.0.0")):
        answers[:] = [lambda dialog, answer=answer: getattr(qt.QMessageBox, answer)]
        import_model(catalog, newer)
        catalog.wait_idle(60)
        question = catalog.stand.record.dialogs[-1].text
        assert "as version 1.2.3" in question and "this is version 2.0.0" in question
        assert catalog.widget.models.current().version == version
    assert installed() == ["small"]


def test_a_model_from_a_file_has_no_address_to_look_at_again(catalog, site, tmp_path):
    import_model(catalog, tmp_path / "site" / "small.zip")
    catalog.ui.taskTabs.setCurrentIndex(2)
    choose(catalog, "small")
    assert not catalog.ui.updateModelButton.enabled and catalog.ui.deleteModelButton.enabled


def test_while_a_model_is_fetched_the_panel_answers_and_cancel_leaves_nothing(
    catalog, models, monkeypatch
):
    class Dripping(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(10**7))
            self.end_headers()
            while True:
                self.wfile.write(bytes(70_000))
                threading.Event().wait(0.02)

        def log_message(self, *_):
            """The tests' output stays their own."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Dripping)
    server.handle_error = lambda *_: None  # the client has gone
    threading.Thread(target=server.serve_forever, daemon=True).start()
    catalog.ui.addressEdit.text = f"http://127.0.0.1:{server.server_port}/big.zip"
    catalog.ui.fetchButton.click()
    assert catalog.ui.statusLabel.text == "Fetching the model..."
    catalog.wait(lambda: catalog.ui.progressBar.value > 0, 60)
    assert catalog.ui.progressBar.maximum == 10**7 and not catalog.ui.fetchButton.enabled
    assert not catalog.ui.applyButton.isHidden() and catalog.ui.applyButton.text == "Cancel"
    catalog.ui.applyButton.click()
    catalog.wait_idle(10)
    assert "Cancelled" in catalog.ui.statusLabel.text and offers(models) == []
    server.shutdown()
    server.server_close()


def test_a_new_model_appears_in_the_list(catalog, models):
    write_model(models, "flair", "FLAIR")
    catalog.widget.models.fill()
    assert any("T1w -> FLAIR" in row for row in rows(catalog))
