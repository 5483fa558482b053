"""Tell which code has changed since jobs were submitted with it.

Compared is what was stored: hashes of pickled functions and of data, seeds. A function that is
imported where it is called (module and name) has changed, too, where the source of its module does
not equal the file that would be stored now.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from batchpilot.pickled import ByReference, function_in
from batchpilot_agent.manifest import Manifest, StoredAlgorithm, StoredModule, StoredProblem
from batchpilot_agent.objects import ObjectStore, content_hash


class Judge:
    """Compare submissions with what would be submitted now; files are read once.

    Args:
        store: The registry's objects.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._files: dict[str, str | None] = {}

    def manifest(self, epoch: str) -> Manifest:
        """Return what a submission was made with.

        Raises:
            ObjectMissing: It is not there.
        """
        return Manifest.from_bytes(self._store.get(epoch))

    def has_changed(self, then: Manifest, function: str, more_args: str | None) -> bool:
        """Tell whether the function of a map, or its static arguments, are others now."""
        same = (then.function, then.more_args) == (function, more_args)
        return not same or self._edited(then, then.function)

    def stale_names(
        self,
        then: Manifest,
        problems: Mapping[str, StoredProblem],
        algorithms: Mapping[str, StoredAlgorithm],
    ) -> tuple[set[str], set[str]]:
        """Return the names of the problems and algorithms of a submission that are others now."""
        return (
            {old.name for old in then.problems if self._is_other(then, old, problems)},
            {old.name for old in then.algorithms if self._is_other(then, old, algorithms)},
        )

    def _is_other(
        self,
        then: Manifest,
        old: StoredProblem | StoredAlgorithm,
        now: Mapping[str, StoredProblem] | Mapping[str, StoredAlgorithm],
    ) -> bool:
        new = now.get(old.name)
        return new is None or made_of(old) != made_of(new) or self._edited(then, old.function)

    def _edited(self, then: Manifest, function: str | None) -> bool:
        """Tell whether the module that a function is imported from reads otherwise now."""
        found = function_in(self._store.get(function)) if function else None
        if not isinstance(found, ByReference):
            return False
        module = next((one for one in then.modules if one.name == found.module), None)
        if module is None or module.source is None:
            return False
        now = self._hash_now(module)
        return now is not None and now != module.source

    def _hash_now(self, module: StoredModule) -> str | None:
        """Return the hash of a module's file as it is now, None where it is gone."""
        loaded = getattr(sys.modules.get(module.name), "__file__", None)
        path = loaded or module.origin
        if path not in self._files:
            file = Path(path)
            self._files[path] = content_hash(file.read_bytes()) if file.is_file() else None
        return self._files[path]


def made_of(part: StoredProblem | StoredAlgorithm) -> tuple[object, ...]:
    """Return what the results of a problem or algorithm depend on."""
    if isinstance(part, StoredProblem):
        return part.function, part.data, part.seed
    return (part.function,)
