"""Heads whose every image is known exactly, because it is computed.

    tissue maps of a brain --anatomy--> fractions of all tissues --head--> T1w, T2w

| file                  | what it knows                                                       |
|-----------------------|---------------------------------------------------------------------|
| ``tissues``           | T1, T2 and proton density of what a head is made of, with sources    |
| ``signal_equations``  | from those to the signal of a pulse sequence                         |
| ``random_field``      | smooth random fields: bias, texture, uneven thickness                |
| ``anatomy``, ``head`` | a whole head around a given brain, and its two images                |
| ``template``          | the brain of the demo: nilearn's MNI152 template                     |

The training's random phantoms are made of the first three, too.
"""
