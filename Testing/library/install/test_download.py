"""Files from the network: whole and as pinned, or not at all; from a server on 127.0.0.1."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MambaSynthLib.errors import FileError
from MambaSynthLib.install import download
from MambaSynthLib.install.download import PinnedFile, fetch

CONTENT = np.random.default_rng(0).bytes(300_000)
HALF = len(CONTENT) // 2
SILENCE_S = 0.3


class Server(ThreadingHTTPServer):
    """Serves CONTENT as /file, in the manner that a test sets; ``by_path`` holds further files."""

    daemon_threads = True
    content = CONTENT
    manner = "good"
    elsewhere = "/file"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.ranges: list[str | None] = []
        self.by_path: dict[str, bytes] = {}
        self.address = f"http://127.0.0.1:{self.server_port}/file"

    def pinned(self, address: str | None = None) -> PinnedFile:
        return PinnedFile(address or self.address, len(CONTENT), sha256_of(CONTENT))


class Answer(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: Any) -> None:
        """The tests' output stays their own."""

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        getattr(self, f"answer_{self.server.manner}")(wanted)

    def head(self, code: int, **headers: object) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def answer_good(self, wanted: str | None) -> None:
        content, start = self.server.by_path.get(self.path, self.server.content), 0
        if wanted:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.head(206, Content_Length=len(content) - start, Content_Range=span)
        else:
            self.head(200, Content_Length=len(content))
        self.wfile.write(content[start:])

    def answer_without_ranges(self, wanted: str | None) -> None:
        self.answer_good(None)

    def answer_wrong_range(self, wanted: str | None) -> None:
        length = len(CONTENT) - HALF
        self.head(206, Content_Length=length, Content_Range=f"bytes 0-{length - 1}/{len(CONTENT)}")
        self.wfile.write(CONTENT[:length])

    def answer_closing(self, wanted: str | None) -> None:
        self.head(200, Content_Length=len(CONTENT))
        self.wfile.write(CONTENT[:HALF])

    def answer_silent(self, wanted: str | None) -> None:
        self.answer_closing(wanted)
        self.wfile.flush()
        time.sleep(6 * SILENCE_S)

    def answer_missing(self, wanted: str | None) -> None:
        self.send_error(404)

    def answer_login(self, wanted: str | None) -> None:
        self.head(200, Content_Length=12, Content_Type="text/html")
        self.wfile.write(b"<html>Log in")

    def answer_endless(self, wanted: str | None) -> None:
        self.head(200)
        self.wfile.write(CONTENT + b"more")

    def answer_moved(self, wanted: str | None) -> None:
        self.server.manner = "good"
        self.head(302, Location=self.server.elsewhere, Content_Length=0)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    running = Server()
    threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def get(server: Server, path: Path, address: str | None = None) -> Path:
    return fetch(server.pinned(address), path, lambda here, whole: None, SILENCE_S)


def parts(folder: Path) -> list[Path]:
    return list(folder.glob(".*.part"))


def refusal(server: Server, path: Path, address: str | None = None) -> str:
    """The one sentence; the final name holds what it held before."""
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(FileError) as raised:
        get(server, path, address)
    assert (path.read_bytes() if path.exists() else None) == before
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_file_arrives_whole_with_progress_and_leaves_no_part(server, tmp_path):
    steps = []
    path = fetch(server.pinned(), tmp_path / "new" / "file", lambda *step: steps.append(step))
    assert path.read_bytes() == CONTENT and parts(path.parent) == []
    assert steps[-1] == (len(CONTENT), len(CONTENT)) and steps == sorted(steps)


def test_a_file_that_is_here_is_not_asked_for_again(server, tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    get(server, tmp_path / "file")
    assert server.ranges == []


def test_a_damaged_file_is_replaced(server, tmp_path):
    (tmp_path / "file").write_bytes(CONTENT[:-1] + b"?")
    assert get(server, tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("manner", ["closing", "silent"])
def test_what_broke_off_says_so_and_is_resumed_from_there(server, tmp_path, manner):
    server.manner = manner
    told = refusal(server, tmp_path / "file")
    assert f"broke off at byte {HALF} of {len(CONTENT)}" in told and "run the same command" in told
    assert [part.read_bytes() for part in parts(tmp_path)] == [CONTENT[:HALF]]
    server.manner = "good"
    assert get(server, tmp_path / "file").read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={HALF}-"] and parts(tmp_path) == []


def test_a_server_that_cannot_resume_sends_everything(server, tmp_path):
    server.manner = "closing"
    refusal(server, tmp_path / "file")
    server.manner = "without_ranges"
    assert get(server, tmp_path / "file").read_bytes() == CONTENT


def test_a_server_that_resumes_at_another_place_is_refused(server, tmp_path):
    server.manner = "closing"
    refusal(server, tmp_path / "file")
    server.manner = "wrong_range"
    assert "the server sends another file" in refusal(server, tmp_path / "file")


def test_a_part_that_another_process_is_writing_is_left_alone(server, tmp_path):
    theirs = tmp_path / ".file.1234abcd.part"
    theirs.write_bytes(b"theirs")
    assert get(server, tmp_path / "file").read_bytes() == CONTENT
    assert theirs.read_bytes() == b"theirs" and server.ranges == [None]


def test_a_wrong_hash_is_refused_and_nothing_of_it_is_kept(server, tmp_path):
    server.content = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    told = refusal(server, tmp_path / "file")
    assert "sha256" in told and "nothing was kept" in told and parts(tmp_path) == []


@pytest.mark.parametrize(("manner", "offered"), [("login", "12"), ("endless", "more")])
def test_another_file_is_refused_before_it_fills_the_disk(server, tmp_path, manner, offered):
    server.manner = manner
    told = refusal(server, tmp_path / "file")
    assert f"another file ({offered} instead of {len(CONTENT)} bytes)" in told
    assert all(part.stat().st_size == 0 for part in parts(tmp_path))
    server.manner = "good"
    assert get(server, tmp_path / "file").read_bytes() == CONTENT


def test_a_missing_file_is_told_with_the_servers_code(server, tmp_path):
    server.manner = "missing"
    assert "the server refuses it (404 Not Found)" in refusal(server, tmp_path / "file")


def test_without_a_network_one_sentence_names_the_remedy(server, tmp_path):
    server.server_close()
    told = refusal(server, tmp_path / "file")
    assert "cannot be reached" in told and "check the network" in told and parts(tmp_path) == []


def test_a_redirect_is_followed_to_a_safe_address_only(server, tmp_path):
    server.manner = "moved"
    assert get(server, tmp_path / "file").read_bytes() == CONTENT
    server.manner, server.elsewhere = "moved", "http://example.org/file"
    assert "example.org/file: is not an https address" in refusal(server, tmp_path / "other")


@pytest.mark.parametrize("address", ["http://example.org/x", "ftp://example.org/x", "file:///x"])
def test_an_open_connection_is_refused_before_anything_is_asked(server, tmp_path, address):
    assert "is not an https address" in refusal(server, tmp_path / "file", address)


def test_a_download_that_takes_too_long_stops(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "MOST_S", -1.0)
    assert "takes longer than" in refusal(server, tmp_path / "file")


def test_a_file_in_the_place_of_the_folder_is_told(server, tmp_path):
    (tmp_path / "folder").write_bytes(b"")
    assert "cannot be written" in refusal(server, tmp_path / "folder" / "file")
