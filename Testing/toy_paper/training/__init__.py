"""The toy's training: a kind of data with two sources, a method, and its model card."""
