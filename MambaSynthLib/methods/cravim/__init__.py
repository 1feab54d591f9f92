"""CRAViM (Zhang & Jiang, MICCAI 2025): T1w <-> T2w by few-step adversarial diffusion."""
