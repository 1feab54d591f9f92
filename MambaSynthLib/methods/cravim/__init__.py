"""CRAViM: Hybrid State-Space Models and Denoising Training for Unpaired Medical Image Synthesis
(Zhang & Jiang, MICCAI 2025). T1w <-> T2w by few-step adversarial diffusion.

| paper                            | where                                                       |
|----------------------------------|-------------------------------------------------------------|
| Fig. 1, the generator            | ``network.CRAViM``, in the order of the figure              |
| EVSS block, ES2D                 | ``evss.py``                                                 |
| selective scan                   | ``layers/selective_scan.py``                                |
| Eq. 2, content and attention     | ``network.CRAViM.blend``                                    |
| diffusion schedule and posterior | ``methods/diffusion.py``; the steps in ``synthesis.py``     |
| Eq. 3, L_trans, transport        | ``MambaSynthTraining/contrast/cravim/losses.py``,           |
| Eq. 4, L_rdn, random denoising   | ``transport_loss`` and ``random_denoise_loss``              |
| Eq. 5, the sum; all other losses | ``step.py`` beside it; ``losses.Weights``                   |
"""
