"""Enough of 3D Slicer around PyPI's real ``slicer-core`` to run a scripted module without Slicer.

Real: the MRML scene, nodes, logics, readers and writers, slice rendering, ``slicer.util``.
Stand-ins: Qt (PySide6 under PythonQt's rules), CTK, the qMRML widgets, ``slicer.app``, and the
Python files that ship with the application only (ScriptedLoadableModule, i18n, packaging).

``start.start()`` installs everything; see ``../README.md`` for what this can and cannot prove.
"""
