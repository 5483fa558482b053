"""Two jobs on two slots: on the system as soon as they are submitted, and until they end."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import Until

from .conftest import Held, MakeStudy


def test_two_jobs_are_on_the_system_at_once_and_then_done(
    make_study: MakeStudy, gate: Path, held: Held, until: Until
) -> None:
    registry = make_study()
    registry.batch_map(held, i=[1, 2])
    registry.submit_jobs()

    assert registry.find_on_system() == [1, 2]
    until(lambda: registry.find_running() == [1, 2])
    gate.touch()
    assert registry.wait_for_jobs(timeout=90) is True
    assert registry.find_on_system() == []
    assert registry.find_done() == [1, 2]
