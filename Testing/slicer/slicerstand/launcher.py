"""``PythonSlicer``: CTKAppLauncher, a process that starts ``python-real`` and waits for it.

    python launcher.py PYTHON ARGUMENT...

Behaves as Base/ctkAppLauncher.cpp of commontk/AppLauncher at commit 05c88469e169 (that Slicer makes
PythonSlicer of it: Slicer/Slicer, SuperBuild's SlicerBlockInstallPython.cmake, l. 132):

| there                                 | what it does, and is done here                          |
|---------------------------------------|---------------------------------------------------------|
| ``runProcess``, ForwardedChannels     | output and errors of the child are its own; so is the   |
|                                       | input since pull request 100                            |
| ``applicationFinished``, NormalExit   | the child's exit code is passed on                      |
| the same, CrashExit                   | "[...] exit abnormally - Report the problem." on stderr |
|                                       | and EXIT_FAILURE, for any signal                        |
| no signal is handled anywhere         | the launcher ended, the child lives on                  |
"""

import subprocess
import sys

if __name__ == "__main__":
    code = subprocess.Popen(sys.argv[1:]).wait()
    if code < 0:
        print(f"error: [{sys.argv[1]}] exit abnormally - Report the problem.", file=sys.stderr)
    sys.exit(code if code >= 0 else 1)
