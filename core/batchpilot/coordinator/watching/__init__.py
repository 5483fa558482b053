"""Watching: what an admin's Prometheus sees of a registry.

`catalogue` names the metrics; `counting` counts what the bus tells, `outcomes` what the registry
keeps of ended jobs; `snapshot` looks at the rest every few seconds; `exposition` turns both into
the text of a scrape, `serving` answers, `targets` tells Prometheus where.

What a scrape shows was written into the registry before it was shown, and ended jobs are counted
from the registry itself. So no counter ever goes back, whichever process dies when.
"""

from .watcher import Watcher


__all__ = ["Watcher"]
