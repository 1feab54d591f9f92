"""A process and all that it starts, which end together.

Slicer's interpreter, ``PythonSlicer``, is a launcher (CTKAppLauncher): it starts ``python-real`` as
a process of its own, hands its input and output through, and waits. Ended alone, it leaves
``python-real`` behind.

* POSIX: the launcher leads a new process group, which its child belongs to; the group is killed.
* Windows: the launcher is put into a job object, which its child belongs to; the job is ended, and
  so it is by the system when Slicer itself dies. Where Windows grants no job, launcher and child
  are ended by their numbers.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from typing import Any

WINDOWS = os.name == "nt"
KILL_ON_JOB_CLOSE = 0x2000  # JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
EXTENDED_LIMITS = 9  # JobObjectExtendedLimitInformation
ENDED = 1  # exit code of what is ended with its job
LIMITS_SIZE, FLAGS_OFFSET = 144, 16  # of JOBOBJECT_EXTENDED_LIMIT_INFORMATION, 64 bit


class ProcessTree:
    """``process`` is the launcher, ``innerPid`` what it has started, as soon as that is known.

    Raises OSError where the command cannot be started.
    """

    def __init__(self, command: list[str], **options: Any):
        if WINDOWS:
            options["creationflags"] = subprocess.CREATE_NO_WINDOW
        else:
            options["start_new_session"] = True
        self.process = subprocess.Popen(command, **options)
        self.innerPid: int | None = None
        self._killed = False
        self._lock = threading.Lock()
        self._job = Job.around(self.process) if WINDOWS else None

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """End all of it, at once; also what outlived the launcher.

        Once only: the system may give the number of what is gone to another process.
        """
        with self._lock:
            killed, self._killed = self._killed, True
        if killed:
            return
        if not WINDOWS:
            quietly(os.killpg, self.process.pid, signal.SIGKILL)
            return
        if self._job is not None:
            self._job.end()
        elif self.innerPid is not None:
            quietly(os.kill, self.innerPid, signal.SIGTERM)  # TerminateProcess there
        quietly(self.process.kill)


def quietly(end: Any, *arguments: Any) -> None:
    try:
        end(*arguments)
    except OSError:
        pass  # it is gone already


class Job:
    """A Windows job object that a process and its descendants belong to."""

    def __init__(self, kernel: Any, handle: int):
        self._kernel, self._handle = kernel, handle

    @classmethod
    def around(cls, process: subprocess.Popen[Any], kernel: Any = None) -> Job | None:
        """None where Windows does not grant it."""
        import ctypes

        kernel = kernel or ctypes.WinDLL("kernel32")
        kernel.CreateJobObjectW.restype = ctypes.c_void_p
        handle = kernel.CreateJobObjectW(None, None)
        if not handle:
            return None
        job = ctypes.c_void_p(handle)
        limits = ctypes.create_string_buffer(LIMITS_SIZE)
        limits[FLAGS_OFFSET : FLAGS_OFFSET + 4] = KILL_ON_JOB_CLOSE.to_bytes(4, "little")
        kernel.SetInformationJobObject(job, EXTENDED_LIMITS, limits, LIMITS_SIZE)
        if not kernel.AssignProcessToJobObject(job, ctypes.c_void_p(int(process._handle))):
            kernel.CloseHandle(job)
            return None
        return cls(kernel, job)

    def end(self) -> None:
        self._kernel.TerminateJobObject(self._handle, ENDED)
        self._kernel.CloseHandle(self._handle)
