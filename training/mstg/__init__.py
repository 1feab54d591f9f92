"""Training of MSTG and MSTG+: losses, batches, one step, recipes, the loop, and the export."""
