"""The commands of ``mambasynth``, one file each: ``add_parser`` and what it runs."""
