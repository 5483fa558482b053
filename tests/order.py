"""In which order the files of tests run, where several run side by side.

Some files mostly wait: for leases, walltimes, takeovers. Others mostly compute. Mixed evenly, the
workers wait for a part of the time and compute for the other; the last tenth only computes, so
that nobody waits alone at the end.
"""

from __future__ import annotations

from collections.abc import Sequence


WAITING = ("tests/conformance/", "tests/end_to_end/")
"""Folders of files that wait."""

COMPUTING = ("tests/end_to_end/edges/", "tests/end_to_end/test_")
"""What of these computes."""

MIXED = 0.9


def mixed(files: Sequence[str]) -> list[str]:
    """Return files in the order in which they are to run.

    Args:
        files: Their paths.

    Example:
        >>> mixed(["tests/a.py", "tests/b.py", "tests/c.py", "tests/conformance/w.py"])
        ['tests/conformance/w.py', 'tests/a.py', 'tests/b.py', 'tests/c.py']
    """
    waiting = [file for file in files if file.startswith(WAITING) and not _computes(file)]
    computing = [file for file in files if file not in set(waiting)]
    at = {file: MIXED * n / len(waiting) for n, file in enumerate(waiting)}
    at |= {file: (n + 0.5) / len(computing) for n, file in enumerate(computing)}
    return sorted(files, key=at.__getitem__)


def _computes(file: str) -> bool:
    return file.startswith(COMPUTING)
