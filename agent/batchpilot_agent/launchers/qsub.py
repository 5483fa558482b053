"""What PBS and Torque, of one descent, have in common: `qsub`, and ids such as `12[3].server`."""

from __future__ import annotations

import re
from typing import ClassVar

from .batch import BatchLauncher


class QsubLauncher(BatchLauncher):
    """Be the base of launchers for PBS and Torque."""

    prefix: ClassVar[str] = "#PBS"

    def _submitting(self, script: str) -> list[str]:
        return ["qsub", script]

    def _element(self, id_: str, index: int) -> str:
        return id_.replace("[]", f"[{index}]")

    def _array(self, element: str) -> str:
        return re.sub(r"\[\d+\]", "[]", element)

    def _key(self, element: str) -> str:
        return element.partition(".")[0]
