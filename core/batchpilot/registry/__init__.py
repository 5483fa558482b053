"""The registry, one part a file: defining, submitting, waiting, finding, tables, results, logs.

`whole.py` puts the parts together; the coordinator uses only what it needs of them.
"""
