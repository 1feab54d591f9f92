"""The child process keeps the model it used last, and no other; whole runs: Testing/slicer."""

import io
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
        {"do": task, "id": n, "model": model, "device": device, "sources": [], "folder": ".",
         "frames": 12}
        for n, (task, model, device) in enumerate(requests)
    ]  # fmt: skip
    server = Server(events.append, maker("synthesize"), list, maker("cine"))
    server.run(io.StringIO("".join(json.dumps(line) + "\n" for line in lines)), lambda: None)
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
