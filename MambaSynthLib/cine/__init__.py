"""The heart's own path on the same nouns: phases, timeline, preparation, engine."""
