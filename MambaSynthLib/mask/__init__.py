"""Where in a volume the brain is, and where the head: ``mask/engine.py``."""
