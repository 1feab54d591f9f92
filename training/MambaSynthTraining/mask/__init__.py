"""Trains and scores the network that finds brains and heads (``MambaSynthLib/mask``)."""
