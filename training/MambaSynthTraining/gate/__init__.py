"""Trains and scores the library's input gate (``MambaSynthLib/gate``)."""
