"""Brain and head masks by a small 3-D U-Net (after Cicek et al., MICCAI 2016), ours.

| what                                              | where                      |
|---------------------------------------------------|----------------------------|
| sizes, the layers by name, the order of their use | ``config.py``              |
| torch and ONNX forms of it                        | ``network.py``, ``graph.py`` |
| from cubes of 3 mm to probabilities               | ``synthesis.py``           |
| volumes in and masks out                          | ``mask/engine.py``         |
| how it is trained                                 | ``MambaSynthTraining/mask`` |
"""
