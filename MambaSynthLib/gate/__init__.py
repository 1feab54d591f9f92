"""The input gate: does this volume show what the model expects? ``admission.py`` is its door."""
