"""``python -m MambaSynthLib`` is the command ``mambasynth``."""

import sys

from MambaSynthLib.cli import main

sys.exit(main())
