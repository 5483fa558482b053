"""A site's own broker, and registries that use it."""

from __future__ import annotations

from tests.end_to_end.edges_places.conftest import call, make_broker
from tests.end_to_end.failures.conftest import gates, moments, tell


__all__ = ["call", "gates", "make_broker", "moments", "tell"]
