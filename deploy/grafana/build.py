#!/usr/bin/env python3
"""Write the dashboards: `python deploy/grafana/build.py`; `--check` only tells what is out of date.

Needs nothing but Python. The JSON is committed, so that it can be imported as it is; a test
compares it with what this program writes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from boards.coordinator import coordinator
from boards.overview import overview
from boards.pools import pools


DIRECTORY = Path(__file__).parent / "dashboards"
BOARDS = {"overview": overview, "pools": pools, "coordinator": coordinator}

NOT_SHOWN = {
    "batchpilot_registry_measured_timestamp_seconds": "says how old the sizes on disk are",
    "process_virtual_memory_bytes": "resident memory is what counts",
    "process_start_time_seconds": "the term shows restarts",
    "process_max_fds": "the limit of the open files that are shown",
}
"""Metrics that are on no panel, and why."""


def built() -> dict[str, str]:
    """Return each dashboard's file name and text."""
    return {
        f"{name}.json": json.dumps(board(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        for name, board in BOARDS.items()
    }


def main(words: list[str]) -> int:
    """Write the dashboards, or check them; return the exit code."""
    stale = [
        name
        for name, text in built().items()
        if not (DIRECTORY / name).exists() or (DIRECTORY / name).read_text("utf-8") != text
    ]
    if "--check" in words:
        for name in stale:
            print(f"{name} is out of date: run {Path(__file__).name}", file=sys.stderr)
        return bool(stale)
    for name in stale:
        (DIRECTORY / name).write_text(built()[name], encoding="utf-8")
        print(f"wrote {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
