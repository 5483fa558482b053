"""How jobs and tests tell each other how far they are, and the jobs that most tests need."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cloudpickle


cloudpickle.register_pickle_by_value(sys.modules[__name__])  # agents do not have the tests


class Marks:
    """Files by which jobs and tests tell each other how far they are."""

    def __init__(self, directory: Path) -> None:
        self.directory = str(directory)

    def set(self, name: object, text: object = "") -> None:
        """Set a mark, whole or not at all."""
        path = f"{self.directory}/{name}"
        with open(path + "~", "w") as file:  # noqa: PTH123 - also in jobs
            file.write(str(text))
        os.replace(path + "~", path)  # noqa: PTH105 - also in jobs

    def has(self, name: object) -> bool:
        """Tell whether a mark is set."""
        return os.path.exists(f"{self.directory}/{name}")  # noqa: PTH110 - also in jobs

    def get(self, name: object) -> str:
        """Return what a mark says."""
        return Path(f"{self.directory}/{name}").read_text()

    def wait(self, name: object) -> None:
        """Wait until a mark is set."""
        while not self.has(name):
            time.sleep(0.005)

    def waiting(self) -> Callable[[str], str]:
        """Return a job that sets the mark of its name and waits for `end <name>`."""
        marks = self

        def work(name: str) -> str:
            marks.set(name)
            marks.wait(f"end {name}")
            return name

        return work

    def sleeping(self) -> Callable[[str], None]:
        """Return a job that sets the mark of its name and does not end by itself."""
        marks = self

        def work(name: str) -> None:
            marks.set(name)
            time.sleep(600)

        return work
