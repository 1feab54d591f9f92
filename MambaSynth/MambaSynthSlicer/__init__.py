"""What the MambaSynth module is made of: MRML conversion, the child process, dependencies.

Imported by ``MambaSynth.py`` only. Loads nothing beyond Slicer, VTK, NumPy and the standard
library; MambaSynthLib brings NumPy alone.
"""
