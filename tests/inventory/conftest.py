"""Registries whose jobs run in the session: what they say of themselves is what is tested."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import batchpilot as bp


Make = Callable[..., bp.Registry]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Give a function that makes a registry of a map; without a function it has no jobs."""
    made: list[bp.Registry] = []

    def make(
        fun: Callable[..., Any] | None = None, *, seed: int = 1, source: str = "", **vectors: Any
    ) -> bp.Registry:
        registry = bp.make_registry(
            tmp_path / f"registry{len(made)}",
            seed=seed,
            work_dir=tmp_path,
            source=[source] if source else (),
        )
        made.append(registry)
        registry.pools = bp.pools.Interactive()
        if fun:
            registry.batch_map(fun, **vectors)
        return registry

    yield make
    for registry in made:
        registry.close()
