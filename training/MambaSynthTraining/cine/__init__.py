"""Methods that learn the frames between two: MSTG and its rivals."""
