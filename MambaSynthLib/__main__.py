"""``python -m MambaSynthLib`` is the command ``mambasynth``."""

from MambaSynthLib.cli import program

program()
