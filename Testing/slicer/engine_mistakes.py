"""Mistakes of engines on other computers, and of the catalog of models; see ``mutate.py``."""

from __future__ import annotations

from mistake import Mistake

SERVER = "MambaSynthLib/server"
PARTS = "MambaSynth/MambaSynthSlicer"
ENGINE_TESTS = "../library/server/test_remote_engine.py"
LISTEN_TESTS = "../library/server/test_serve_listen.py"

ENGINE_MISTAKES = (
    Mistake(
        "any token is taken",
        f"{SERVER}/session.py",
        'if not same(head.get("token"), self._token):',
        'if not head.get("token"):',
        ENGINE_TESTS,
    ),
    Mistake(
        "a token that others can read is taken",
        f"{SERVER}/token_file.py",
        'if os.name == "posix" and',
        'if os.name == "nt" and',
        LISTEN_TESTS,
    ),
    Mistake(
        "a name is sent",
        f"{SERVER}/parcels.py",
        'return _head(volume, index) | {"name": texts.index(volume.name), "notes": notes}',
        'return _head(volume, index) | {\n        "name": texts.index(volume.name), '
        '"notes": notes, "title": volume.name\n    }',
        ENGINE_TESTS,
    ),
    Mistake(
        "what nobody waits for any more is computed to its end",
        f"{SERVER}/session.py",
        '            self._child.send({"do": "cancel", "id": own_id})\n            while',
        "            while",
        ENGINE_TESTS,
    ),
    Mistake(
        "a cancel that comes too late is one of the next run",
        f"{SERVER}/engine_child.py",
        "return next(self._ids)",
        "return 1",
        ENGINE_TESTS,
    ),
    Mistake(
        "the limit is one of each volume",
        f"{SERVER}/wire.py",
        "check_total(sum(sizes), largest)",
        "check_total(max(sizes, default=0), largest)",
        ENGINE_TESTS,
    ),
    Mistake(
        "others can listen",
        f"{SERVER}/listen.py",
        "if not is_own_computer(host):",
        "if not host:",
        LISTEN_TESTS,
    ),
    Mistake(
        "a certificate of another name is trusted",
        f"{SERVER}/remote.py",
        "        return context.wrap_socket(",
        "        context.check_hostname = False\n        return context.wrap_socket(",
        LISTEN_TESTS,
    ),
    Mistake(
        "a traceback with the server's folders is sent",
        f"{SERVER}/session.py",
        'return {**last, "details": ""} if "details" in last else last, result',
        "return last, result",
        ENGINE_TESTS,
    ),
    Mistake(
        "after an update the old network computes on",
        f"{SERVER}/server.py",
        '        if request["do"] in CHANGING:\n            self._engines.clear()\n',
        "",
        "../library/server/test_server.py",
    ),
    Mistake(
        "an update that fails has removed the old version",
        "MambaSynthLib/install/importing.py",
        "    weights = package.read_weights()\n    progress(1, IMPORT_STEPS)\n",
        "    if former is not None:\n        shutil.rmtree(target)\n"
        "    weights = package.read_weights()\n    progress(1, IMPORT_STEPS)\n",
        "../library/install/test_importing.py",
    ),
    Mistake(
        "the engine of before computes on",
        f"{PARTS}/remote_section.py",
        "        self.panel.logic.stop()  #",
        "        #",
        "test_remote_panel.py",
    ),
    Mistake(
        "PyTorch is asked for where another computer computes",
        f"{PARTS}/dependencies.py",
        'elsewhere = task in ("contrast", "cine") and',
        'elsewhere = task == "contrast" and',
        "test_remote_panel.py",
    ),
    Mistake(
        "a file is trusted whose hash nobody saw",
        f"{PARTS}/catalog_section.py",
        '        _("sha256 of the file:") + "\\n" + offer["sha256"],\n',
        "",
        "test_catalog.py",
    ),
    Mistake(
        "what was not trusted stays",
        f"{PARTS}/catalog_section.py",
        '        Path(offer["file"]).unlink(missing_ok=True)\n        self.panel.run.showStatus',
        "        self.panel.run.showStatus",
        "test_catalog.py",
    ),
    Mistake(
        "the limits come last in a card",
        f"{PARTS}/models.py",
        'return f"## {title}\\n\\n{limitsOf(entry)}\\n\\n---\\n\\n{readme}"',
        'return f"{readme}\\n\\n---\\n\\n## {title}\\n\\n{limitsOf(entry)}"',
        "test_catalog.py",
    ),
    Mistake(
        "the default is the model that was found first",
        f"{PARTS}/models.py",
        "return sorted(fitting, key=lambda entry: chosen.get(entry.direction) != entry.key)",
        "return fitting",
        "test_catalog.py",
    ),
)
