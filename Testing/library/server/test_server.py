"""The child process keeps the model it used last, and no other; whole runs: Testing/slicer."""

import json

import pytest

from MambaSynthLib.server import answers
from MambaSynthLib.server.server import Server

TASKS = ("synthesize", "cine")


@pytest.fixture
def made(monkeypatch):
    """(task, model, device) of every engine that is made; answering takes the engine, no more."""
    made = []

    def take_the_engine(task):
        def answer(run):
            engine = run.engine(task, run.request["model"], run.request.get("device", "auto"))
            return {"event": "done", "engine": engine}

        return answer

    for task in TASKS:
        monkeypatch.setitem(answers.ANSWERS, task, take_the_engine(task))
    return made


def served(made, *requests):
    """The events of a server that gets the requests (task, model, device)."""
    events = []

    def maker(task):
        def make(model, device):
            made.append((task, model, device))
            return f"{task} {model} {device}"

        return make

    lines = [
        {"do": task, "id": n, "model": model, "device": device, "folder": ".",
         "sources": {} if task == "synthesize" else [],
         "frames": 12, "path": "x.zip"}
        for n, (task, model, device) in enumerate(requests)
    ]  # fmt: skip

    def send(event, attached=()):
        events.append(event)

    server = Server(send, maker("synthesize"), list, maker("cine"))
    server.run([(json.dumps(line), []) for line in lines], lambda: None)
    return events


def test_a_second_run_of_a_model_does_not_load_it_again(made):
    events = served(made, ("synthesize", "m", "cpu"), ("synthesize", "m", "cpu"))
    assert made == [("synthesize", "m", "cpu")]
    assert [event["event"] for event in events] == ["ready", "loading", "done", "done"]


@pytest.mark.parametrize(
    "second",
    [("cine", "m", "cpu"), ("synthesize", "other", "cpu"), ("synthesize", "m", "cuda")],
    ids=["another task", "another model", "another device"],
)
def test_another_task_model_or_device_gets_an_engine_of_its_own(made, second):
    first = ("synthesize", "m", "cpu")
    events = served(made, first, second, first)
    assert made == [first, second, first]  # one at a time: it holds the GPU's memory
    done = [event["engine"] for event in events if event["event"] == "done"]
    assert done == [" ".join(request) for request in (first, second, first)]


@pytest.mark.parametrize("do", ["import", "remove"])
def test_what_was_loaded_is_forgotten_when_the_models_change(made, monkeypatch, do):
    """A model of the same id may be another one afterwards."""
    monkeypatch.setitem(answers.ANSWERS, do, lambda run: {"event": "done", "engine": None})
    served(made, ("synthesize", "m", "cpu"), (do, "m", "cpu"), ("synthesize", "m", "cpu"))
    assert made == [("synthesize", "m", "cpu")] * 2


def test_a_model_is_removed_and_made_the_default_on_request(tiny_package, tmp_path):
    from MambaSynthLib.install.importing import import_folder
    from MambaSynthLib.model.registry import chosen_models, list_models

    import_folder(tiny_package.folder)
    events = []

    def send(event, attached=()):
        events.append(event)

    lines = [
        {"do": do, "id": do, "model": "tiny-t1w-t2w", "folder": str(tmp_path)}
        for do in ("default", "remove", "remove")
    ]
    server = Server(send, None, list, None)
    server.run([(json.dumps(lines[0]), [])], lambda: None)
    assert chosen_models() == {"T1w -> T2w": "tiny-t1w-t2w"}
    server = Server(send, None, list, None)
    server.run([(json.dumps(line), []) for line in lines[1:]], lambda: None)
    assert "tiny-t1w-t2w" not in [package.card.id for package in list_models()]
    assert [event["event"] for event in events if "id" in event] == ["done", "done", "failed"]
    assert "is no model in" in events[-1]["message"]
