"""Experiments: designs, what functions take of them, which definitions they make, what is stale."""
