"""MSTG: cine frames between end-diastole and end-systole (Zhang & Liang). A diffusion network with
Mamba blocks gives a latent code, a deformation network turns it into motion; MSTG+ is ours.
"""
