"""The coordinator: the one process per registry that feeds, applies, judges and scales.

Each duty is one class with one `tick(now)`, a step that neither sleeps nor loops; `loop.py` puts
them in order:

    read events -> feed -> cancel -> apply -> survey and judge -> scale -> audit -> measure

Duties share a `Desk` (registry, broker, term) and tell what happened on its bus; logs and metrics
listen to the bus.
"""
