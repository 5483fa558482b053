"""What the tests of edges share with those that break things."""

from __future__ import annotations

from tests.end_to_end.failures.conftest import gates, tell


__all__ = ["gates", "tell"]
