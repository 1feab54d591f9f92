"""Pictures and scores of a result."""
