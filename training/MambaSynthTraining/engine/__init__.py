"""Runs any training method on any machine; ``fit`` is the entrance, and Lightning the launcher."""
