"""``serve --listen`` and ``synthesize --engine`` as programs, with a network of random numbers."""

import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import write_volume
from MambaSynthLib.server.address import address_of
from MambaSynthLib.server.exchange import load_volume, save_volume
from MambaSynthLib.server.listen import tls_of
from MambaSynthLib.server.remote import Remote
from MambaSynthLib.server.token_file import read_token, same, write_new_token
from Testing.library.cli.command_line import called, contents, refused
from Testing.library.server.engines import ROOT, TOKEN, Engine, head_volume, inverted, tapped

POSIX = pytest.mark.skipif(os.name != "posix", reason="Windows keeps rights elsewhere")


class Server:
    """The program in folders of its own: what it finds, what it may write, and what it logs."""

    def __init__(self, folder, models, *options):
        self.folder, self.token = folder, folder / "token"
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "MAMBASYNTH_MODELS": str(models),
            **{name: str(folder) for name in ("HOME", "TMPDIR", "XDG_DATA_HOME")},
        }
        self.log = open(folder.parent / "log.txt", "w+")
        command = [sys.executable, "-m", "MambaSynthLib", "serve", "--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(
            [*command, "--token", str(self.token), *options],
            stdout=subprocess.PIPE, stderr=self.log, text=True, cwd=folder, env=environment,
        )  # fmt: skip
        while not (line := self.process.stdout.readline()).startswith("listening on "):
            assert line, "it has ended"
        self.address = line.split()[2].rstrip(";")

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def open_for_writing(self):
        """The regular files that it and its children have open for writing, but for its log."""
        files = set()
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        for pid in (self.process.pid, *children.read_text().split()):
            for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
                flags = int(entry.read_text().split("flags:")[1].split()[0], 8)
                target = Path(f"/proc/{pid}/fd/{entry.name}").resolve()
                if flags & os.O_ACCMODE != os.O_RDONLY and target.is_file():
                    files.add(target)
        return files - {Path(self.log.name)}


@pytest.fixture
def serving(tmp_path, tiny_package):
    folder = tmp_path / "server"
    folder.mkdir()
    server = Server(folder, tiny_package.folder.parent)
    yield server
    server.process.kill()
    server.process.wait()
    server.log.close()


@pytest.fixture
def doe(tmp_path, head):
    """A folder with a patient's head."""
    folder = tmp_path / "DOE_JANE"
    folder.mkdir()
    write_volume(Volume(head.array, head.affine, "x"), folder / "DOE_JANE_T1w.nii.gz")
    return folder


def synthesized(capsys, doe, out, tiny_package, *options):
    """The head measures 3 cm, which the input gate refuses: here as there."""
    words = ["synthesize", doe / "DOE_JANE_T1w.nii.gz", "--to", "T2w", "-o", doe / out, "--force"]
    words += ["--model", tiny_package.folder, "--samples", "2", "--seed", "5", "--device", "cpu"]
    return called(capsys, *words, "--uncertainty", doe / f"map-{out}", *options)


def test_a_remote_result_is_that_of_this_computer_to_the_byte_and_leaves_nothing_there(
    serving, doe, tiny_package, capsys
):
    token = serving.token
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    before = contents(serving.folder)
    host, port = address_of(serving.address)
    with tapped(port) as (own_port, heard):
        engine = ["--engine", f"{host}:{own_port}", "--token", token]
        code, _, said = synthesized(capsys, doe, "out.nii.gz", tiny_package, *engine)
    assert code == 0 and "refused but forced" in said, said
    there = contents(doe)
    for path in there:
        if "T1w" not in path.name:
            (doe / path).unlink()
    assert synthesized(capsys, doe, "out.nii.gz", tiny_package)[0] == 0
    assert contents(doe) == there and len(there) == 5  # the head, image, map, a sidecar of each
    assert contents(serving.folder) == before and serving.open_for_writing() == set()
    assert len(heard) > 10_000 and b"DOE" not in heard and bytes(str(doe), "utf-8") not in heard
    limits = Path(f"/proc/{serving.process.pid}/limits").read_text()
    assert re.search(r"Max core file size +0 +0 ", limits)  # a dump would hold voxels
    log = serving.said()
    assert "synthesize done" in log and "DOE" not in log and token.read_text().strip() not in log


def test_another_version_of_the_model_is_refused(
    serving, doe, tiny_package, make_package, tmp_path, capsys
):
    other = make_package(tmp_path / "other" / "tiny", version="9.9.9")
    engine = ["--engine", serving.address, "--token", serving.token]
    result = synthesized(capsys, doe, "out.nii.gz", other, *engine)
    assert result[0] == 2 and "has another version of this model" in result[2]
    assert {path.name for path in doe.iterdir()} == {"DOE_JANE_T1w.nii.gz"}


def test_a_killed_server_takes_its_engine_along(serving, doe, tiny_package, capsys):
    engine = ["--engine", serving.address, "--token", serving.token]
    assert synthesized(capsys, doe, "out.nii.gz", tiny_package, *engine)[0] == 0
    children = Path(f"/proc/{serving.process.pid}/task/{serving.process.pid}/children")
    (child,) = children.read_text().split()
    serving.process.kill()
    serving.process.wait()
    ended = threading.Event()
    for _ in range(50):
        if not Path(f"/proc/{child}").exists():
            return
        ended.wait(0.1)
    raise AssertionError("the engine's process is still there")


# ------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "[::]", "gpu.example"])
def test_others_can_reach_it_with_tls_only(host, tmp_path, capsys):
    with socket.create_server(("0.0.0.0", 0)) as taken:  # or the test would go on listening
        address = f"{host}:{taken.getsockname()[1]}"
        result = called(capsys, "serve", "--listen", address, "--token", tmp_path / "token")
    refused(result, "could read what is sent; add --certificate and --key")
    assert not (tmp_path / "token").exists()


@pytest.mark.parametrize("address", ["here", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:65536", ":1"])
def test_what_is_no_address_is_refused(address, tmp_path, capsys):
    words = ["serve", f"--listen={address}", "--token", tmp_path / "token"]
    refused(called(capsys, *words), "is no address; give HOST:PORT")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--listen", "127.0.0.1:0"], "needs --token FILE"),
        (["--listen", "127.0.0.1:0", "--token", "t", "--folder", "x"], "keeps no files"),
        (["--listen", "127.0.0.1:0", "--token", "t", "--megabytes", "0"], "numbers above 0"),
        (["--listen", "127.0.0.1:0", "--token", "t", "--minutes", "nan"], "numbers above 0"),
        (["--listen", "127.0.0.1:0", "--token", "t", "--key", "k"], "go together"),
    ],
)
def test_listening_with_options_that_make_no_sense_is_refused(
    words, why, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    refused(called(capsys, "serve", *words), why)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--engine", "127.0.0.1:1"], "needs --token FILE"),
        (["--token", "t"], "belong to --engine"),
        (["--certificate", "c"], "belong to --engine"),
    ],
)
def test_an_engine_that_is_half_named_is_refused(words, why, doe, tiny_package, capsys):
    refused(synthesized(capsys, doe, "out.nii.gz", tiny_package, *words), why)


@pytest.mark.parametrize("option", [["--batch", "2"], ["--backend", "torch"]])
def test_what_the_engine_chooses_cannot_be_asked_for(option, doe, tiny_package, tmp_path, capsys):
    write_new_token(tmp_path / "token")
    engine = ["--engine", "127.0.0.1:1", "--token", tmp_path / "token", *option]
    refused(synthesized(capsys, doe, "out.nii.gz", tiny_package, *engine), "leave them out")


# ------------------------------------------------------------------------------------ the token


@pytest.mark.parametrize("option", ["--token", "--certificate", "--key"])
def test_who_forgets_listen_is_told_that_it_or_an_engine_is_missing(option, tmp_path, capsys):
    refused(called(capsys, "serve", option, tmp_path / "x"), "belong to --listen, or to --engine")


def test_a_new_token_is_long_and_never_the_same_and_replaces_none(tmp_path):
    for name in ("a", "b"):
        write_new_token(tmp_path / name)
    tokens = {read_token(tmp_path / name) for name in ("a", "b")}
    assert len(tokens) == 2 and all(len(token) >= 43 for token in tokens)
    with pytest.raises(FileExistsError):
        write_new_token(tmp_path / "a")


@POSIX
@pytest.mark.parametrize("mode", [0o604, 0o640, 0o666, 0o620])
def test_a_token_that_others_can_read_is_refused_on_both_sides(mode, tmp_path, capsys):
    path = tmp_path / "token"
    write_new_token(path)
    path.chmod(mode)
    with socket.create_server(("127.0.0.1", 0)) as taken:  # or the test would go on listening
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(FileError, match="token: can be read by other"):
            Remote.at(address, path)
        words = ["serve", "--listen", address, "--token", path]
        refused(called(capsys, *words), "token: can be read by other")


@pytest.mark.parametrize(
    "text", ["short", "x" * 1001, "two lines of a token\nand another", "é" * 30]
)
def test_what_is_no_token_is_refused(text, tmp_path):
    path = tmp_path / "token"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(FileError, match="holds no token"):
        read_token(path)


def test_a_token_is_compared_as_a_whole():
    assert same(TOKEN, TOKEN)
    for other in (TOKEN[:-1], TOKEN + " ", "", None, 5, [TOKEN], "\ud800"):
        assert not same(other, TOKEN)


# -------------------------------------------------------------------------------------- TLS


@pytest.fixture
def certificate(tmp_path):
    """(certificate, key) of localhost, signed by itself."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    paths = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-out", paths[0], "-keyout",
         paths[1]], check=True, capture_output=True,
    )  # fmt: skip
    return paths


@pytest.fixture
def encrypted(certificate):
    engine = Engine(context=tls_of(*certificate, "127.0.0.1"))
    yield engine
    engine.listener.close()


def test_over_tls_a_run_works_and_nothing_can_be_read(encrypted, certificate):
    with tapped(encrypted.port) as (port, heard):
        remote = Remote("localhost", port, TOKEN, certificate[0])
        volume = head_volume()
        event = remote.ask({"do": "synthesize", "model": "inverter"}, {"T1w": volume})
    assert event["targets"]["T2w"].shape == volume.shape
    assert TOKEN.encode() not in heard and b"inverter" not in heard and len(heard) > 1000


def test_a_certificate_that_is_not_known_or_of_another_name_is_not_trusted(encrypted, certificate):
    for host, trusted in (("127.0.0.1", certificate[0]), ("localhost", Path(certificate[1]))):
        with pytest.raises((RequestError, FileError), match="not trusted|holds no certificate"):
            Remote(host, encrypted.port, TOKEN, trusted).devices()


def test_who_speaks_without_tls_is_sent_away(encrypted):
    with pytest.raises(RequestError, match="ends the connection at once"):
        encrypted.remote().devices()
    assert encrypted.process() is None


def test_files_that_are_no_certificate_are_refused(tmp_path, certificate):
    (tmp_path / "x.pem").write_text("nothing")
    with pytest.raises(FileError, match="are no certificate and its key"):
        tls_of(tmp_path / "x.pem", certificate[1], "0.0.0.0")
    with pytest.raises(FileError, match="missing.pem, key.pem: are no certificate"):
        tls_of(tmp_path / "missing.pem", certificate[1], "0.0.0.0")


# ------------------------------------------------------------------ the child process of Slicer


def test_slicers_child_has_the_other_computer_compute_and_brings_files(tmp_path, tiny_package):
    engine = Engine()
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    volume = head_volume("DOE")
    source = save_volume(volume, tmp_path / "source.npz")
    models = str(tiny_package.folder.parent)
    with subprocess.Popen(
        [sys.executable, "-m", "MambaSynthLib", "serve", "--folder", str(tmp_path / "own"),
         "--engine", f"{engine.host}:{engine.port}", "--token", str(tmp_path / "token")],
        env={**os.environ, "PYTHONPATH": str(ROOT), "MAMBASYNTH_MODELS": models},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        both = {"model": "tiny-t1w-t2w", "samples": 2, "frames": 4}
        folders = [tmp_path / "contrast", tmp_path / "cine"]
        for folder in folders:
            folder.mkdir()
        for request in (
            {"do": "devices", "id": 0},
            {
                "do": "synthesize",
                "id": 1,
                "sources": {"T1w": str(source)},
                **both,
                "folder": str(folders[0]),
            },
            {
                "do": "cine",
                "id": 2,
                "sources": [str(source)] * 2,
                **both,
                "folder": str(folders[1]),
            },
        ):
            child.stdin.write(json.dumps(request) + "\n")
            child.stdin.flush()
        events = []
        while len(events) < 3:
            event = json.loads(child.stdout.readline())
            events += [event] if event["event"] in ("devices", "done", "failed") else []
        child.stdin.close()
        assert child.wait(10) == 0
    engine.listener.close()
    devices, contrast, cine = events
    assert devices["devices"][0]["id"] == "cuda:0"
    made = load_volume(contrast["targets"]["T2w"])
    np.testing.assert_array_equal(made.array, inverted(volume))
    np.testing.assert_array_equal(made.affine, volume.affine)
    assert load_volume(contrast["spread"]).array.max() == 0.5
    assert contrast["provenance"]["Sources"] == ["DOE"] and contrast["seconds"] > 0
    frames = [load_volume(file) for file in cine["frames"]]
    assert len(frames) == 4 and (frames[1].array == volume.array).all()
