"""What a registry's submissions have in common: dependencies, default resources, a limit.

All of it is kept in the registry and holds for what is submitted from then on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from batchpilot.asking import by_owner
from batchpilot.configuration import Names, checked_limit, checked_names
from batchpilot.dependencies import store_dependencies
from batchpilot.resources import check_resources
from batchpilot.store.launches import hold_agents
from batchpilot_agent.manifest import Dependencies
from batchpilot_agent.objects import ObjectStore

from .base import RegistryBase


class Configuring(RegistryBase):
    """Keep what submissions have in common."""

    @property
    def packages(self) -> list[str]:
        """Return the modules imported before functions are called; assigning stores them."""
        return list(self._setting("packages", []))

    @packages.setter
    def packages(self, value: Names) -> None:
        self._set("packages", checked_names(value, "packages"))

    @property
    def source(self) -> list[str]:
        """Return the files run before functions are called; assigning stores their names.

        Relative ones are looked for below `work_dir`.
        """
        return list(self._setting("source", []))

    @source.setter
    def source(self, value: Names) -> None:
        self._set("source", checked_names(value, "source"))

    @property
    def default_resources(self) -> dict[str, Any]:
        """Return the resources of jobs that are submitted without them; assigning stores them."""
        return dict(self._setting("default_resources", {}))

    @default_resources.setter
    def default_resources(self, value: Mapping[str, Any]) -> None:
        check_resources(value)
        self._set("default_resources", dict(value))

    @property
    def max_concurrent_jobs(self) -> int | None:
        """Return how many jobs run at once at most, None for any number.

        It holds for all jobs of the registry, whatever they need. Assigning stores it: the
        coordinator follows at once, takes back what is queued beyond, and lets run what runs.
        """
        limit: int | None = self._setting("max_concurrent_jobs")
        return limit

    @max_concurrent_jobs.setter
    def max_concurrent_jobs(self, value: int | None) -> None:
        self._set("max_concurrent_jobs", checked_limit(value))

    def _dependencies(self, objects: ObjectStore | None = None) -> Dependencies:
        """Store what this registry's functions depend on, as it is now."""
        return store_dependencies(
            objects or self.objects,
            packages=self.packages,
            source=self.source,
            exports=self._setting("exports", {}),
            work_dir=self.work_dir,
        )

    @by_owner
    def _hold_agents(self, stopped: bool) -> None:
        """Let no agents be started until they are resumed; or resume them."""
        with self._changing() as tx:
            hold_agents(tx, stopped=stopped)

    @by_owner
    def _set(self, name: str, value: object) -> None:
        with self._changing() as tx:
            tx.set_meta(name, json.dumps(value))
