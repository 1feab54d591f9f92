"""Many volumes: which there are, and who computes which."""
