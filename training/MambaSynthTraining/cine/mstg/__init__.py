"""MSTG, MSTG+ and DDM: losses, the training method, its frames, and its model card."""
