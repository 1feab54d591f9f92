"""CRAViM: Hybrid State-Space Models and Denoising Training for Unpaired Medical Image Synthesis
(Zhang & Jiang, MICCAI 2025). T1w <-> T2w by few-step adversarial diffusion.
"""
