"""The public surface: what `import batchpilot` shows, and what it costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import batchpilot as bp
from batchpilot import errors


HEAVY = ("cloudpickle", "numpy", "pandas", "prometheus_client", "redis", "rich", "rq", "sqlite3")


def loaded_by(code: str, where: Path) -> list[str]:
    """Return which of the heavy modules a fresh Python has loaded after some code."""
    look = f"import sys; {code}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    ended = subprocess.run(
        [sys.executable, "-c", look], cwd=where, capture_output=True, text=True, check=True
    )
    return ended.stdout.split()


def test_the_names_shown_are_those_promised() -> None:
    assert dir(bp) == sorted(bp.__all__)
    assert list(bp.__all__) == sorted(bp.__all__)


def test_every_name_promised_is_there() -> None:
    assert [name for name in bp.__all__ if getattr(bp, name, None) is None] == []


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    assert not hasattr(bp, "no_such_name")


def test_importing_batchpilot_loads_nothing_heavy(tmp_path: Path) -> None:
    assert loaded_by("import batchpilot", tmp_path) == []


def test_making_a_registry_loads_neither_tables_nor_broker(tmp_path: Path) -> None:
    code = "import batchpilot; batchpilot.make_registry('r').batch_map(abs, x=[1, 2])"

    assert not {"pandas", "redis", "rq", "rich", "prometheus_client"} & set(
        loaded_by(code, tmp_path)
    )


def test_every_error_hangs_below_one_root() -> None:
    kinds = [getattr(errors, name) for name in errors.__all__]

    assert all(issubclass(kind, bp.BatchpilotError) for kind in kinds)
    assert all(kind.__doc__ for kind in kinds)


def test_the_tree_of_errors_is_drawn_whole() -> None:
    drawn = errors.__doc__ or ""
    own = [name for name in errors.__all__ if getattr(errors, name).__module__ == errors.__name__]

    assert [name for name in own if name not in drawn] == []


def test_an_errors_message_ends_with_its_remedy() -> None:
    error = bp.BatchpilotError("it broke", remedy="mend it", job=7)

    assert str(error) == "it broke; mend it"
    assert (error.message, error.remedy, error.fields) == ("it broke", "mend it", {"job": 7})
