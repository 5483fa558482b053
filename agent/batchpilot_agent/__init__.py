"""The pilot that runs jobs on a node."""
