"""MSTG: cine frames between end-diastole and end-systole (Zhang & Liang). A diffusion network with
Mamba blocks gives a latent code, a deformation network turns it into motion; MSTG+ is ours.

The paper fixes few things and has no program; what it leaves open is DDM's (training/PAPERS.md says
why). Where nothing but (reading) stands, the choice is ours.

| paper                                              | where                                       |
|----------------------------------------------------|---------------------------------------------|
| input: ED, ES, the noised target                   | ``network.MSTG.code``                       |
| "channel sizes 8, 16, 32, 32"                      | ``config.MSTGConfig.channels``              |
| convolutions and pooling extract local features    | ``unets.DiffusionUNet``; ``blocks.py``      |
| feature map -> sequence of tokens                  | ``blocks.MSTGBlock``, W fastest (reading)   |
| sequence -> Mamba                                  | ``mamba.Mamba``, one way (reading)          |
| state-space recurrence                             | ``layers/selective_scan.py``                |
| linear layer, "dimensional adjustment"             | ``blocks.MSTGBlock.project``                |
| convolution, residual fusion                       | ``blocks.MSTGBlock.spread``                 |
| cascaded modules, skip connections between stages  | ``unets.DiffusionUNet``                     |
| diffusion loss (DDM's)                             | ``MambaSynthTraining/cine/mstg/losses.py``, |
|                                                    | ``noise_loss``                              |
| deformation from ED to ES (DDM's)                  | ``unets.DeformationUNet``, ``warp.py``      |
| similarity and smoothness of the motion (DDM's)    | ``ncc_loss``, ``smooth_loss`` beside it     |
| noise schedule, 2000 steps (DDM's)                 | ``schedule.LinearSchedule``                 |
| frames at gamma in [0, 1] (DDM's)                  | ``synthesis.py``                            |
| Adam, 1e-4, batch 1; ACDC at 1.5 x 1.5 x 3.15 mm   | ``recipes/cine/mstg.yaml``                  |
"""
