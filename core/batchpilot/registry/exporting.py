"""Export objects: named values that all functions of the registry's jobs find as globals."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from batchpilot.asking import by_owner
from batchpilot.dependencies import check_export_name
from batchpilot.functions import pickle_value
from batchpilot.notices import warn

from .base import RegistryBase


if TYPE_CHECKING:
    import pandas as pd


class Exporting(RegistryBase):
    """Export objects to the jobs."""

    def batch_export(
        self,
        export: Mapping[str, Any] | None = None,
        unexport: str | Iterable[str] | None = None,
    ) -> pd.DataFrame:
        """Export objects, or take exports back; list what is exported.

        Jobs submitted from then on find an exported object under its name, without naming where
        it comes from: on agents, in `test_job`, in Interactive pools. A function that came by
        value (of a script, a lambda) sees the export even where it knew a global of that name; a
        function of a module, where the module has none.

        Args:
            export: Objects by name; one that is exported already is replaced.
            unexport: Names to take back; unknown ones are ignored with a warning.

        Returns:
            `name` and `uri`, the file that holds the object, sorted by name.

        Raises:
            DefinitionError: A name cannot be one of a global, or is one of Python's own.
            CannotPickle: An object cannot be pickled; nothing was exported.

        Example:
            >>> reg.batch_export({"scale": 10})
            >>> reg.batch_map(lambda i: i * scale, i=range(3))
        """
        names = [unexport] if isinstance(unexport, str) else list(unexport or ())
        for name in export or ():
            check_export_name(name)
        pickles = {
            name: pickle_value(value, f"export {name}") for name, value in (export or {}).items()
        }
        if pickles or names:
            self._export(pickles, names)
        return self._exports()

    def _export(self, pickles: Mapping[str, bytes], unexport: Sequence[str]) -> None:
        self._check_writeable()
        with self._storing():
            stored = {name: self.objects.put(data) for name, data in pickles.items()}
            unknown = self._set_exports(stored, list(unexport))
        for name in unknown:
            warn(f"Ignoring unknown export {name}")

    @by_owner
    def _set_exports(self, stored: dict[str, str], unexport: list[str]) -> list[str]:
        """Keep the exports; return those to be taken back that are none."""
        with self._changing() as tx:
            exports: dict[str, str] = json.loads(tx.meta("exports", "{}"))
            kept = {name: value for name, value in exports.items() if name not in unexport}
            tx.set_meta("exports", json.dumps(kept | stored))
        return [name for name in unexport if name not in exports]

    def _exports(self) -> pd.DataFrame:
        import pandas as pd  # noqa: PLC0415 - slow, and only needed for tables

        listed = sorted(self._setting("exports", {}).items())
        return pd.DataFrame(
            {
                "name": pd.Series([name for name, _ in listed], dtype=object),
                "uri": pd.Series(
                    [str(self.paths.objects / value) for _, value in listed], dtype=object
                ),
            }
        )
