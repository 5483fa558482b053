"""What tests that break things share: moments drawn at random, and figures told at the end."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest


Tell = Callable[[str], None]


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Tell:
    """Give a function that tells a figure; all figures stand below the tests' results."""

    def told(figure: str) -> None:
        record_property("figure", figure)
        print(figure)  # noqa: T201 - stands beside a failure

    return told


@pytest.fixture
def moments(tell: Tell) -> random.Random:
    """Give a source of random moments; its seed is told, `BATCHPILOT_TEST_SEED` sets it."""
    seed = int(os.environ.get("BATCHPILOT_TEST_SEED") or random.SystemRandom().randrange(2**32))
    tell(f"BATCHPILOT_TEST_SEED={seed}")
    return random.Random(seed)  # noqa: S311 - no secret is made of it


@pytest.fixture
def gates(tmp_path: Path) -> Path:
    """Give the directory in which gated jobs say that they run, and are let go."""
    path = tmp_path / "gates"
    path.mkdir()
    return path
