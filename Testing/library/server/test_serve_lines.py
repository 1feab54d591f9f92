"""``mambasynth serve`` as a process: whatever a line holds, it is answered, and ends nothing."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from MambaSynthLib.errors import RequestError
from MambaSynthLib.server.requests import checked

ROOT = Path(__file__).resolve().parents[3]
SERVE = [sys.executable, "-m", "MambaSynthLib", "serve"]
LINES = 1000
GONE_WITHIN_S = 5.0
WELL_FORMED = [
    {"do": "synthesize", "id": 1, "model": "m", "sources": {"T1w": "x.npz"}, "folder": "."},
    {"do": "cine", "id": 1, "model": "m", "sources": ["x.npz"], "folder": ".", "frames": 8},
    {"do": "import", "id": 1, "path": "x.zip", "folder": "."},
    {"do": "cancel", "id": 1},
]  # fmt: skip
NO_VALUE = [[], {}, [[1]], {"a": 1}, 1.5, True, [None] * 50]
DEEP = ["[" * 100_000, '{"do":' * 5000, "[" * 900 + "]" * 900, '{"a":' * 900 + "1" + "}" * 900]


def malformed(choose):
    """A line of bytes that is no request, of one of seven kinds."""
    request = dict(choose.choice(WELL_FORMED))
    text = json.dumps(request)
    place = choose.randrange(1, len(text) - 1)
    kind = choose.randrange(7)
    if kind == 0:  # bytes that are no UTF-8
        line = text[:place].encode() + choose.choice([b"\xff\xfe", b"\xc3", b"\xed\xa0\x80"])
    elif kind == 1:
        line = text[:place].encode()
    elif kind == 2:
        line = bytes(choose.randrange(256) for _ in range(choose.randrange(60)))
    elif kind == 3:
        line = choose.choice(DEEP).encode()
    elif kind == 4:  # also what would otherwise be looked up: a list has no hash
        line = json.dumps(request | {"id": choose.choice(NO_VALUE)}).encode()
    elif kind == 5:
        value = choose.choice(DEEP[2:])
        line = f'{{"do": "cancel", "id": {value}}}'.encode()
    else:
        del request[choose.choice(list(request))]
        line = json.dumps(request | {"extra": choose.choice(NO_VALUE)}).encode()
    return line.replace(b"\n", b"\r") + b"\n"


@pytest.fixture
def serving(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        SERVE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        cwd=tmp_path, env=environment,
    ) as process:  # fmt: skip
        assert json.loads(process.stdout.readline())["event"] == "ready"
        yield process
        process.kill()


def told(process):
    return json.loads(process.stdout.readline())


@pytest.mark.timeout(60)
def test_a_thousand_malformed_lines_are_answered_one_by_one_and_serving_goes_on(serving):
    choose = random.Random(17)
    for number in range(LINES):
        line = malformed(choose)
        serving.stdin.write(line)
        serving.stdin.flush()
        event = told(serving)
        assert (event["event"], event["id"], event["details"]) == ("failed", None, ""), line
        assert len(event["message"]) < 500 and "\n" not in event["message"], (number, line)
    last = {"do": "import", "id": "last", "path": "missing.zip", "folder": "."}
    serving.stdin.write(json.dumps(last).encode() + b"\n")
    serving.stdin.flush()
    assert told(serving)["id"] == "last"
    serving.stdin.close()
    assert serving.wait(GONE_WITHIN_S) == 0


@pytest.mark.parametrize("line", [b"\xff\xfe\n", b"[" * 100_000 + b"\n"])
def test_a_malformed_line_before_the_end_of_stdin_does_not_keep_the_process(serving, line):
    serving.stdin.write(line)
    serving.stdin.close()
    assert told(serving)["event"] == "failed"
    assert serving.wait(GONE_WITHIN_S) == 0


@pytest.mark.parametrize("run_id", [["1"], {"id": 1}, None, 1.0, True])
def test_an_id_that_no_run_can_have_is_refused(serving, run_id):
    for do in ("cancel", "devices"):
        serving.stdin.write(json.dumps({"do": do, "id": run_id}).encode() + b"\n")
        serving.stdin.flush()
        assert "; give a whole number or text." in told(serving)["message"]


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("id", "x" * 65, "The id has 65 letters; give a number, or up to 64."),
        ("sources", ["x.npz"], "sources is ['x.npz']; give an object."),
        ("sources", {"T1w": 7}, "an entry of sources is 7; give text."),
        ("slices", [0, "3"], "an entry of slices is '3'; give a whole number."),
        ("slices", [1, 2, 3], "slices is [1, 2, 3]; give [first, end]."),
        ("slices", 3, "slices is 3; give a list or null."),
        ("seed", 2.5, "seed is 2.5; give a whole number or null."),
        ("seed", 10**400, "give a whole number or null."),
        ("steps", True, "steps is True; give a whole number or null."),
        ("force", "yes", "force is 'yes'; give true or false or null."),
    ],
)
def test_a_value_of_another_kind_is_refused_by_name(key, value, wanted):
    with pytest.raises(RequestError) as caught:
        checked(json.dumps({**WELL_FORMED[0], key: value}))
    assert wanted in str(caught.value)


def test_the_times_of_a_cine_are_finite_numbers():
    request = {**WELL_FORMED[1], "times_ms": [0, 90.5]}
    assert checked(json.dumps(request)) == request
    for wrong in (float("nan"), 10**30, "90", None):
        with pytest.raises(RequestError, match="an entry of times_ms is .*; give a whole number"):
            checked(json.dumps({**request, "times_ms": [0, wrong]}))


def test_an_unknown_request_of_any_length_is_told_in_a_sentence(serving):
    serving.stdin.write(json.dumps({"do": "x" * 5000, "id": 1}).encode() + b"\n")
    serving.stdin.flush()
    assert "is unknown to protocol" in (message := told(serving)["message"]) and len(message) < 99


PARENT = """
import subprocess, sys, time
serve = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)
subprocess.Popen(["sleep", "60"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                 pass_fds=[serve.stdin.fileno()])
time.sleep(60)
"""


@pytest.mark.skipif(os.name != "posix", reason="inherits an open pipe")
def test_the_process_is_gone_soon_after_a_parent_whose_pipe_lives_on(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, *SERVE, "--folder", str(tmp_path / "private")],
        stdout=subprocess.PIPE, env=environment, start_new_session=True,
    )  # fmt: skip
    try:
        assert json.loads(parent.stdout.readline())["event"] == "ready"
        parent.kill()
        started = time.monotonic()
        assert parent.stdout.read() == b""  # ends when nobody can write there any more
        assert time.monotonic() - started < GONE_WITHIN_S
    finally:
        os.killpg(parent.pid, signal.SIGKILL)
        parent.wait()
