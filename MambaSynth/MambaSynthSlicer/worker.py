"""The child process that synthesizes: start, send, poll, cancel, and start again after a crash.

Knows nothing of Qt or MRML, so it works the same in Slicer, in a script and in a test. Nothing
here waits: ``poll`` returns what has arrived, and whoever owns the worker calls it from a timer.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .process_tree import ProcessTree

PROTOCOL = 1
DEVICES_ID = 0  # runs count from 1
PREFIX = "mambasynth_"
CANCEL_LIMIT_S = 0.8  # then the child is ended from here
STDERR_LINES_KEPT = 30
LAST_WORDS_S = 1.0  # for what a process has written before it ended
ABNORMAL_EXIT = "exit abnormally"  # CTKAppLauncher's words, with exit code 1, for any signal
FATAL = "Fatal Python error: "  # what Python's faulthandler writes before a crash ends it
KILLED = -9
OUT_OF_MEMORY = "the system ended it, most likely because memory ran out"

Event = dict[str, Any]


def libraryFolder() -> Path:
    """The folder that holds the MambaSynthLib package."""
    import MambaSynthLib

    return Path(MambaSynthLib.__file__).resolve().parent.parent


def pythonCommand() -> list[str]:
    """The interpreter for the child: PythonSlicer inside Slicer, else the running one."""
    slicerPython = shutil.which("PythonSlicer")
    return [slicerPython or sys.executable, "-m", "MambaSynthLib", "serve"]


def childEnvironment() -> dict[str, str]:
    """This environment, with the library importable, the output in UTF-8, and crashes told."""
    known = os.environ.get("PYTHONPATH", "")
    paths = [str(libraryFolder())] + ([known] if known else [])
    own = {"PYTHONIOENCODING": "utf-8", "PYTHONFAULTHANDLER": "1"}
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **own}


def removeFoldersOfDeadSessions(parent: Path) -> None:
    """Clear away what a crashed Slicer left; folders of living processes are kept."""
    for folder in parent.glob(PREFIX + "*_*"):
        pid = folder.name.split("_")[1]
        if pid.isdigit() and not isAlive(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def isAlive(pid: int) -> bool:
    if os.name == "nt":  # os.kill(pid, 0) would end the process there
        listed = subprocess.run(
            ["tasklist", "/FI", f"PID eq {pid}", "/NH"],
            capture_output=True,
            text=True,
            creationflags=subprocess.CREATE_NO_WINDOW,
        )
        return str(pid) in listed.stdout
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # alive, of another user
    return True


class Worker:
    """One child process at a time, and a private folder for the volumes of each.

    The folder is the child's alone: where Slicer dies, the child removes it, and whatever becomes
    of a child, it cannot touch the files of the next one.

    Events are those of ``MambaSynthLib.server.serve`` plus two made here: ``log`` (a line of the
    child's stderr) and ``crashed`` (the child has ended by itself; ``message`` says why).
    """

    def __init__(
        self,
        command: list[str] | None = None,
        temporaryFolder: Path | None = None,
        environment: Callable[[], dict[str, str]] = dict,
        arguments: Callable[[], list[str]] = list,
    ):
        self.command = command
        self._environment = environment  # what the next child gets besides its usual one
        self._arguments = arguments  # and after its usual ones
        self._parentFolder = Path(temporaryFolder or tempfile.gettempdir())
        self._folder: Path | None = None
        self._child: ProcessTree | None = None
        self._events: queue.Queue[tuple[int, Event]] = queue.Queue()
        self._generation = 0  # events of an ended child are not those of the next one
        self._stderr: list[str] = []
        self._nextId = 1
        self._busyId: int | None = None
        self._cancelledAt: float | None = None

    # ------------------------------------------------------------------------------ requests

    @property
    def busy(self) -> bool:
        return self._busyId is not None

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    def newRunFolder(self) -> Path:
        """A private (0700) folder for the files of the next run; see ``removeRunFolder``."""
        if not self.running:
            self._end()
        return Path(tempfile.mkdtemp(prefix="run_", dir=self._childFolder()))

    def _childFolder(self) -> Path:
        """That of the running child, or of the one that is started next."""
        if self._folder is None or not self._folder.exists():
            removeFoldersOfDeadSessions(self._parentFolder)
            prefix = f"{PREFIX}{os.getpid()}_"
            self._folder = Path(tempfile.mkdtemp(prefix=prefix, dir=self._parentFolder))
        return self._folder

    def removeRunFolder(self, folder: Path | None) -> None:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def run(self, do: str, request: dict[str, Any]) -> int:
        """Start a run: what to ``do`` (synthesize, cine) and the keys that the protocol has for it.

        Returns the id of the run. Raises OSError: no child.
        """
        if self.busy:
            raise RuntimeError("A synthesis is running already.")
        self._start()
        self._busyId = self._nextId
        self._nextId += 1
        self._send({"do": do, "id": self._busyId, **request})
        return self._busyId

    def askDevices(self) -> None:
        """Ask for the devices; a ``devices`` event follows. Raises OSError: no child."""
        self._start()
        self._send({"do": "devices", "id": DEVICES_ID})

    def cancel(self) -> None:
        """Ask the run to stop; a ``cancelled`` event follows within a second."""
        if self.busy and self._cancelledAt is None:
            self._cancelledAt = time.monotonic()
            self._send({"do": "cancel", "id": self._busyId})

    def stop(self) -> None:
        """End the child and remove every file."""
        self._end()
        self._busyId = self._cancelledAt = None

    # -------------------------------------------------------------------------------- events

    def poll(self) -> list[Event]:
        """What has happened since the last call."""
        arrived = []
        while not self._events.empty():
            generation, event = self._events.get()
            if generation == self._generation:
                arrived += self._accepted(event)
        if self._cancelledAt and time.monotonic() - self._cancelledAt > CANCEL_LIMIT_S:
            self._end()
            arrived.append({"event": "cancelled", "id": self._finished()})
        return arrived

    def _accepted(self, event: Event) -> list[Event]:
        """The event as the owner should see it; keeps track of whether a run is under way."""
        kind = event["event"]
        if kind == "log":
            self._stderr = [*self._stderr, event["text"]][-STDERR_LINES_KEPT:]
        elif kind == "ready":
            self._child.innerPid = event.get("pid")
            if event["protocol"] != PROTOCOL:
                self._end()
                return [self._crash(f"it speaks protocol {event['protocol']}, not {PROTOCOL}")]
        elif kind == "ended":
            return self._ended(event["code"])
        elif kind in ("done", "cancelled", "failed") and event["id"] == self._busyId:
            if event.get("exiting"):
                self._end()
            if self._cancelledAt and kind != "cancelled":  # it finished while being cancelled
                event = {"event": "cancelled", "id": self._busyId}
            self._finished()
        return [event]

    def _ended(self, code: int) -> list[Event]:
        self._end(removeFiles=False)  # a result may still have to be read
        if self._cancelledAt:
            return [{"event": "cancelled", "id": self._finished()}]
        if self.busy:
            return [self._crash(reason(code, self._stderr))]
        return []

    def _crash(self, why: str) -> Event:
        message = f"The synthesis process ended by itself: {why}."
        details = "\n".join(self._stderr)
        return {"event": "crashed", "id": self._finished(), "message": message, "details": details}

    def _finished(self) -> int | None:
        run, self._busyId, self._cancelledAt = self._busyId, None, None
        return run

    # --------------------------------------------------------------------------- the process

    def _start(self) -> None:
        if self.running:
            return
        self._generation += 1
        self._stderr = []
        command = self.command or pythonCommand()
        command = [*command, "--folder", str(self._childFolder()), *self._arguments()]
        self._child = ProcessTree(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=childEnvironment() | self._environment(),
        )
        follow = threading.Thread(
            target=self._follow, args=(self._child, self._generation), daemon=True
        )
        follow.start()

    def _follow(self, child: ProcessTree, generation: int) -> None:
        """In a thread: pass on what the child says until it ends, then how it ended.

        What the launcher has started may outlive it, and would keep the pipes open.
        """
        process = child.process

        def readLog() -> None:
            for line in process.stderr:
                self._events.put((generation, {"event": "log", "text": line.rstrip()}))

        def readEvents() -> None:
            for line in process.stdout:
                self._events.put((generation, parsed(line)))

        readers = [threading.Thread(target=read, daemon=True) for read in (readLog, readEvents)]
        for reader in readers:
            reader.start()
        code = process.wait()
        child.kill()
        for reader in readers:
            reader.join(timeout=LAST_WORDS_S)
        self._events.put((generation, {"event": "ended", "code": code}))

    def _send(self, request: dict[str, Any]) -> None:
        try:
            self._child.process.stdin.write(json.dumps(request) + "\n")
            self._child.process.stdin.flush()
        except OSError:
            pass  # it has just died: the ``ended`` event tells

    def _end(self, removeFiles: bool = True) -> None:
        """End the child with all that it started, and remove its files; its pipes close with it."""
        self._generation += 1
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.process.wait(timeout=5)
            try:
                child.process.stdin.close()
            except OSError:
                pass  # a request was still in the buffer
        if removeFiles and self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def parsed(line: str) -> Event:
    try:
        event = json.loads(line)
        return event if "event" in event else {"event": "log", "text": line.rstrip()}
    except ValueError:
        return {"event": "log", "text": line.rstrip()}


def reason(code: int, stderr: list[str]) -> str:
    """Why the child ended, in words; also where a launcher stands between and tells little."""
    fatal = next((line for line in stderr if line.startswith(FATAL)), None)
    if fatal is not None:
        return f"it crashed ({fatal.removeprefix(FATAL).rstrip('.')})"
    abnormal = code == 1 and any(ABNORMAL_EXIT in line for line in stderr)
    if abnormal or code == KILLED:
        return OUT_OF_MEMORY
    if code < 0:
        return f"signal {-code}"
    last = next((line.strip() for line in reversed(stderr) if line.strip()), "")
    return f"exit code {code}" + (f", {last.rstrip('.')}" if last else "")
