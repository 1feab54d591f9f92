"""A mark in the voxels: it says "synthetic, by MambaSynth, by this model" where no header is left.

A pattern of plane waves, the same in every slice, is added where the image has texture. A public
constant fixes it, so anybody can look for it, and anybody could take it out: it is there against
accidents, not against forgers.

| file           | what is in it                                                            |
|----------------|--------------------------------------------------------------------------|
| ``pattern``    | the waves, their phases, and which of them spell the model               |
| ``texture``    | how strong a mark each voxel can bear, and what is left without anatomy  |
| ``embedding``  | the pattern into a volume                                                |
| ``detection``  | the pattern out of any array: turned, cut, resampled, rescaled           |
"""
