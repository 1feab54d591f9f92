"""The commands that the training package adds to ``mambasynth``, one module each."""
