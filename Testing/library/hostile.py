"""Content of a file that must never be run."""

import os


class Bomb:
    """Makes a folder when it is unpickled, so that a test can see that it was."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)
