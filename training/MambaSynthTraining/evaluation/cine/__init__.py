"""Scores, statistics and tables of cine methods."""
