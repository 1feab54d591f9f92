"""The engine of another computer: the same result, for those who know the token, one at a time."""

import json
import socket
import threading
import time

import numpy as np
import pytest

from MambaSynthLib.errors import Cancelled, RefusedInput, RequestError
from MambaSynthLib.server import remote, session, wire
from MambaSynthLib.server.remote import Remote
from MambaSynthLib.server.turns import Turns
from Testing.library.server.engines import (
    TOKEN,
    Engine,
    head_volume,
    inverted,
    tapped,
    wait,
)


@pytest.fixture(scope="module")
def engine():
    """One for all tests that do it no harm."""
    engine = Engine()
    yield engine
    engine.listener.close()


@pytest.fixture
def make_engine():
    made = []

    def make(**options):
        made.append(Engine(**options))
        return made[-1]

    yield make
    for one in made:
        one.listener.close()


# ------------------------------------------------------------------------------ what comes back


def test_voxels_grid_and_record_come_back_to_the_bit_with_the_names_put_back(engine):
    volume = head_volume()
    event = engine.ask(volume)
    made = event["targets"]["T2w"]
    np.testing.assert_array_equal(made.array, inverted(volume))
    np.testing.assert_array_equal(made.affine, volume.affine)
    assert made.notes == volume.notes
    assert event["provenance"]["Sources"] == ["DOE_JANE_T1w.nii.gz"]
    assert "DOE wrote this note" in event["provenance"]["Warnings"]


def test_a_doubt_that_only_the_name_raises_is_told(engine):
    event = engine.ask(head_volume("DOE_T2w.nii"))
    assert any("the name says T2w" in text for text in event["provenance"]["Warnings"])


def test_several_draws_bring_their_spread(engine):
    request = {"do": "synthesize", "model": "inverter", "samples": 3}
    event = engine.remote().ask(request, {"T1w": head_volume()})
    assert (event["spreads"]["T2w"].array == 0.5).all()


def test_a_cine_comes_back_frame_by_frame(engine):
    volumes = {str(n): head_volume("DOE cine", seed=n) for n in (1, 2)}
    request = {"do": "cine", "model": "blender", "frames": 5}
    event = engine.remote().ask(request, volumes)
    frames = event["frames"]
    assert len(frames) == 5 and event["provenance"]["Sources"] == ["DOE cine"]
    np.testing.assert_array_equal(frames[0].array, volumes["1"].array)
    acquired = [frame.array for frame, n in zip(frames, event["acquired"], strict=True) if n == 2]
    np.testing.assert_array_equal(acquired[0], volumes["2"].array)


def test_the_devices_are_those_of_the_other_computer(engine):
    assert [device["id"] for device in engine.remote().devices()] == ["cuda:0", "cpu"]


def test_neither_names_nor_notes_nor_paths_are_sent_or_logged(engine, capfd):
    with tapped(engine.port) as (port, heard):
        request = {"do": "synthesize", "model": "broken", "folder": "/data/DOE", "path": "/DOE"}
        with pytest.raises(RequestError, match="ZeroDivisionError"):
            engine.remote(port=port).ask(request, {"T1w": head_volume()})
        engine.remote(port=port).ask(request | {"model": "noisy"}, {"T1w": head_volume()})
    assert b"DOE" not in heard and b"/data" not in heard and b".py" not in heard
    said = capfd.readouterr().err
    assert "a bug" in said and "synthesize done" in said  # the traceback stays with the engine
    assert "DOE" not in said and "T1w.nii" not in said


def test_what_the_gate_refuses_is_told_by_name_and_can_be_insisted_on(engine):
    array = head_volume().array.copy()
    array[0, 0, 0] = 12345  # a knee to the fake engine
    volume = head_volume("Knee of DOE").with_array(array)
    with pytest.raises(RequestError, match="is constant"):
        engine.ask(head_volume(), "refuses")
    with pytest.raises(RefusedInput, match="Knee of DOE: looks like a knee"):
        engine.ask(volume)
    request = {"do": "synthesize", "model": "inverter", "force": True}
    event = engine.remote().ask(request, {"T1w": volume})
    assert any("refused but forced" in text for text in event["provenance"]["Warnings"])


# ------------------------------------------------------------------------------- who is let in


@pytest.mark.parametrize("token", ["", "a token", TOKEN[:-1], TOKEN + "x", TOKEN.upper()])
def test_a_wrong_token_is_refused_in_a_sentence_and_starts_nothing(make_engine, monkeypatch, token):
    engine = make_engine()
    monkeypatch.setattr(session, "WRONG_TOKEN_S", 0.2)
    started = time.monotonic()
    with pytest.raises(RequestError, match="The token is not that of this engine"):
        engine.remote(token).devices()
    assert time.monotonic() - started >= 0.2 and engine.process() is None


@pytest.mark.parametrize("head", [{}, {"token": None}, {"token": [TOKEN]}, {"do": "devices"}])
def test_nobody_is_told_a_version_without_the_token(engine, monkeypatch, head):
    monkeypatch.setattr(session, "WRONG_TOKEN_S", 0.0)
    with engine.socket() as connection:
        connection.sendall(json.dumps(head).encode() + b"\n")
        said = connection.makefile().read()
    assert "The token is not" in said and "version" not in said


def test_another_protocol_is_told_with_the_remedy(engine):
    with engine.socket() as connection:
        connection.sendall(json.dumps({"token": TOKEN, "protocol": 99}).encode() + b"\n")
        assert "install the same version on both computers" in connection.makefile().readline()


def greeted(engine):
    connection = engine.socket()
    connection.sendall(json.dumps({"token": TOKEN, "protocol": 1}).encode() + b"\n")
    said = connection.makefile("r")
    assert json.loads(said.readline())["event"] == "ready"
    return connection, said


HEAD = {"shape": [1, 1, 2], "affine": np.eye(4).tolist(), "attached": 0, "name": 0, "notes": []}
ASKED = {"do": "synthesize", "id": 1, "model": "inverter", "sources": {"T1w": HEAD}}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"do": "import", "path": "/elsewhere/x.zip"}, "does synthesize, cine, devices"),
        ({"do": "stop"}, "does synthesize, cine, devices"),
        ({"folder": "/tmp"}, "takes no folder"),
        ({"output": "/elsewhere/x"}, "takes no output"),
        ({"model": "../models/inverter"}, "folders of the engine are not named"),
        ({"model": "/elsewhere/inverter"}, "folders of the engine are not named"),
        ({"sources": {"T1w": "/etc/passwd"}}, "give an object"),
        ({"sources": {"../T1w": HEAD}}, "no contrast"),
        ({"sources": {}}, "needs its voxels attached"),
        ({"sources": [HEAD]}, "give an object"),
        ({"sources": {"T1w": HEAD, "T2w": HEAD}}, "needs its voxels attached"),
        ({"sources": {"T1w": HEAD | {"shape": [1, 1, 3]}}}, "came with 8 bytes"),
        ({"sources": {"T1w": HEAD | {"shape": [-1, -1, 2]}}}, "came with 8 bytes"),
        ({"sources": {"T1w": HEAD | {"shape": 2}}}, "three whole numbers"),
        ({"sources": {"T1w": HEAD | {"attached": 1}}}, "no voxels attached"),
        ({"sources": {"T1w": HEAD | {"name": "DOE"}}}, "no numbers of texts"),
        ({"sources": {"T1w": HEAD | {"affine": "DOE"}}}, "no table of numbers"),
        ({"sources": {"T1w": HEAD | {"affine": [[0] * 4] * 4}}}, "<0>: the last row"),
        ({"do": "cine", "sources": [HEAD], "frames": 10**9}, "makes up to"),
        ({"id": None}, "has no id"),
        ({"id": "x" * 65}, "has no id"),
    ],
)
def test_a_request_that_is_none_is_answered_in_a_sentence(engine, changes, why):
    connection, said = greeted(engine)
    with connection:
        connection.sendall(wire.line_of(ASKED | changes, [b"12345678"]) + b"12345678")
        event = json.loads(said.readline())
        while event["event"] in ("loading", "progress"):
            event = json.loads(said.readline())
    assert event["event"] == "failed" and why in event["message"], event
    assert "DOE" not in event["message"] or "takes no" in event["message"]
    assert event["details"] == "" and "\n" not in event["message"]


@pytest.mark.parametrize(
    "line",
    [b"\xff\xfe\n", b"[]\n", b"[" * 5000 + b"\n", b"x" * (wire.LONGEST_LINE + 2)]
    + [json.dumps(ASKED | {"attached": sizes}).encode() + b"\n"
       for sizes in ("8", [-1], [1.5], [True], [0] * 2001, {"a": 1})],
)  # fmt: skip
def test_a_line_that_is_no_message_ends_the_connection_in_a_sentence(engine, line):
    connection, said = greeted(engine)
    with connection:
        connection.sendall(line)
        event = json.loads(said.readline())
        assert event["event"] == "failed" and said.readline() == ""
    assert engine.ask(head_volume())["event"] == "done"


# ---------------------------------------------------------------------- too large, slow, long


def test_voxels_beyond_the_limit_are_refused_before_they_are_taken(make_engine):
    engine = make_engine(megabytes=0.001)
    with pytest.raises(RequestError, match="this engine takes"):
        engine.ask(head_volume(shape=(10, 10, 10)))
    with pytest.raises(RequestError, match="makes up to"):
        few = {str(n): head_volume(shape=(2, 2, 2), seed=n) for n in (1, 2)}
        engine.remote().ask({"do": "cine", "model": "blender", "frames": 99}, few)
    assert engine.process() is None


def test_the_limit_is_of_all_voxels_together_and_kept_by_the_engine_itself(make_engine):
    engine = make_engine(megabytes=0.001)
    connection, said = greeted(engine)
    with connection:
        connection.sendall(json.dumps(ASKED | {"attached": [600, 600]}).encode() + b"\n")
        assert "have 0.0012 MB, and this engine takes 0.001 MB" in said.readline()


def drip(connection, data, seconds):
    """Byte by byte; how long it took until the other side had enough."""
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        for byte in data:
            try:
                connection.sendall(bytes([byte]))
            except OSError:
                return time.monotonic() - started
            time.sleep(0.02)
    raise AssertionError("nobody has ended it")


def test_who_drips_a_token_is_sent_away_and_keeps_nobody_waiting(engine, monkeypatch):
    monkeypatch.setattr(session, "GREETING_S", 0.5)
    with engine.socket() as slow:
        dripping = threading.Thread(target=drip, args=(slow, b" " * 10, 10.0))
        dripping.start()
        assert engine.ask(head_volume())["event"] == "done"
        dripping.join(timeout=8)
        assert not dripping.is_alive()


def test_who_drips_voxels_is_sent_away_and_keeps_nobody_waiting(engine, monkeypatch):
    monkeypatch.setattr(wire, "LINE_S", 0.5)
    connection, said = greeted(engine)
    with connection:
        connection.sendall(json.dumps(ASKED | {"attached": [100_000]}).encode() + b"\n")
        assert engine.ask(head_volume())["event"] == "done"
        assert drip(connection, b"\0" * 10, 10.0) < 5
        assert "more slowly than" in said.readline()


def test_who_says_nothing_is_sent_away(engine, monkeypatch):
    monkeypatch.setattr(session, "IDLE_S", 0.3)
    connection, said = greeted(engine)
    with connection:
        assert "Nothing was said" in said.readline() and said.readline() == ""


def test_a_run_that_takes_too_long_is_ended_and_told(make_engine):
    engine = make_engine(longest_s=0.3)
    with pytest.raises(RequestError, match="took longer than"):
        engine.ask(head_volume(shape=(4, 4, 100)), "slow")
    assert engine.ask(head_volume())["event"] == "done"


# --------------------------------------------------------------------- several, and who leaves

LONG = (4, 4, 400)  # 20 s of the slow engine


def test_two_clients_get_their_own_results_one_after_the_other(engine):
    volumes = [head_volume(f"head {n}", (4, 4, 20), seed=n) for n in (1, 2)]
    told, made = [[], []], [None, None]

    def client(number):
        made[number] = engine.ask(volumes[number], "slow", say=told[number].append)

    threads = [threading.Thread(target=client, args=(n,)) for n in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for volume, event in zip(volumes, made, strict=True):
        np.testing.assert_array_equal(event["targets"]["T2w"].array, inverted(volume))
        assert event["provenance"]["Sources"] == [volume.name]
    waited = [any(event["event"] == "queued" for event in events) for events in told]
    assert sorted(waited) == [False, True]


def start_long(engine, model="slow"):
    """A connection whose run is under way."""
    connection, said = greeted(engine)
    voxels = bytes(4 * int(np.prod(LONG)))
    asked = ASKED | {"model": model, "sources": {"T1w": HEAD | {"shape": list(LONG)}}}
    connection.sendall(wire.line_of(asked, [voxels]) + voxels)
    while json.loads(said.readline())["event"] != "progress":
        continue
    return connection, said


@pytest.mark.parametrize("model", ["slow", "stubborn"])
def test_who_leaves_in_the_middle_frees_the_engine_for_the_next(engine, model):
    connection, said = start_long(engine, model)
    before = engine.process()
    said.close()
    connection.close()
    started = time.monotonic()
    assert engine.ask(head_volume())["event"] == "done"
    assert time.monotonic() - started < 10  # of 20 s
    assert (engine.process() == before) == (model == "slow")  # which heeds a cancel, and lives on


def test_who_leaves_while_waiting_is_not_waited_for(engine):
    first, heard = start_long(engine)
    second, said = greeted(engine)
    second.sendall(wire.line_of(ASKED, [bytes(8)]) + bytes(8))
    assert json.loads(said.readline()) == {"event": "queued", "id": 1, "before": 1}
    said.close()
    second.close()
    wait(lambda: len(engine.listener._turns._waiting) == 1)
    first.close()
    heard.close()
    assert engine.ask(head_volume())["event"] == "done"


@pytest.mark.parametrize("model", ["slow", "stubborn"])
def test_a_cancel_is_answered_within_a_second_and_the_next_run_works(engine, model):
    engine.ask(head_volume())
    begun = []

    def cancelled():
        return bool(begun) and time.monotonic() - begun[0] > 0.3

    def say(event):
        if event["event"] == "progress" and not begun:
            begun.append(time.monotonic())

    with pytest.raises(Cancelled):
        engine.ask(head_volume(shape=LONG), model, say=say, cancelled=cancelled)
    assert time.monotonic() - begun[0] < 0.3 + 2.0
    assert engine.ask(head_volume())["event"] == "done"


def test_a_cancel_that_comes_too_late_is_not_one_of_the_next_run(engine):
    connection, said = greeted(engine)
    with connection:
        for _ in range(3):
            connection.sendall(wire.line_of(ASKED, [bytes(8)]) + bytes(8))
            connection.sendall(json.dumps({"do": "cancel", "id": 7}).encode() + b"\n")
            while (event := json.loads(said.readline()))["event"] not in ("done", "cancelled"):
                continue
            assert event["event"] == "done" and said.read(8) == "\0" * 8  # its voxels
            connection.sendall(json.dumps({"do": "cancel", "id": 1}).encode() + b"\n")


def test_a_second_request_during_a_run_ends_the_connection_and_the_run(engine):
    connection, said = start_long(engine)
    with connection:
        connection.sendall(wire.line_of(ASKED | {"id": 2}, [bytes(8)]) + bytes(8))
        lines = said.read().splitlines()
    assert json.loads(lines[-1])["event"] == "failed"
    assert engine.ask(head_volume())["event"] == "done"


@pytest.mark.parametrize("model", ["dies", "dies-silently", "crashes"])
def test_an_engine_that_dies_is_told_and_the_next_run_has_another(engine, model):
    engine.ask(head_volume())
    before = engine.process()
    with pytest.raises(RequestError, match="The engine ended by itself"):
        engine.ask(head_volume(), model)
    assert engine.ask(head_volume())["event"] == "done"
    assert engine.process() != before


def test_no_more_clients_are_let_in_than_there_is_room_for(engine):
    wait(lambda: engine.listener._slots._value == 8)  # those of the tests before
    here = [greeted(engine) for _ in range(8)]
    with pytest.raises(RequestError, match="has 8 clients; try again in a minute"):
        engine.remote().devices()
    for connection, said in here:
        said.close()
        connection.close()
    wait(lambda: engine.listener._slots._value == 8)
    assert engine.remote().devices()


def test_an_engine_that_is_not_there_is_told_with_the_remedy(make_engine):
    engine = make_engine()
    engine.listener.close()
    with pytest.raises(RequestError, match="no engine answers there .*; start it with"):
        engine.remote().devices()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", r"is no engine of MambaSynth \(A line is no JSON"),
        (b"", r"is no engine of MambaSynth \(Nothing was said within 0 s\); check host and port"),
        (b'{"event": "hello"}\n', "is no engine of MambaSynth"),
    ],
)
def test_another_program_that_answers_is_told(monkeypatch, words, why):
    monkeypatch.setattr(remote, "CONNECTS_WITHIN_S", 0.4)
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer():
            connection, _ = other.accept()
            with connection:
                connection.sendall(words)
                connection.recv(1000)
                time.sleep(1)

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(RequestError, match=why):
            Remote("127.0.0.1", other.getsockname()[1], TOKEN).devices()


def test_who_comes_first_has_the_turn_and_who_leaves_gives_it_on():
    turns = Turns()
    first, second, third = (turns.enter() for _ in range(3))
    assert turns.is_mine(first, 0) and not turns.is_mine(second, 0.01)
    assert (turns.before(second), turns.before(third)) == (1, 2)
    turns.leave(second)
    turns.leave(first)
    assert turns.is_mine(third, 0)
