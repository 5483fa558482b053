"""What tests of secrets and strangers share with those that break things and of odd places."""

from __future__ import annotations

from tests.end_to_end.edges_places.conftest import call, make_broker
from tests.end_to_end.failures.conftest import gates, tell


__all__ = ["call", "gates", "make_broker", "tell"]
