"""batchpilot: a registry of jobs, run by pilots on whatever machines there are.

    import batchpilot as bp
    reg = bp.make_registry("study", seed=1)
    reg.batch_map(fun, i=range(1000))
    reg.submit_jobs()
    reg.wait_for_jobs()
    reg.reduce_results_list()

Names are loaded when they are first used, so that `import batchpilot` takes milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from batchpilot_agent.job import HandBack
    from batchpilot_broker.errors import BatchpilotError

    from . import errors, pools
    from .chunking import binpack, chunk, lpt
    from .ids import JobIds
    from .mapping import bt_map
    from .registry.whole import (
        ExperimentRegistry,
        Registry,
        load_registry,
        make_experiment_registry,
        make_registry,
    )
    from .runtimes import RuntimeEstimate, estimate_runtimes
    from .status import Status
    from .unwrapping import unwrap
    from .vectors import grid

_HOMES = {
    "BatchpilotError": "batchpilot_broker.errors",
    "ExperimentRegistry": "batchpilot.registry.whole",
    "HandBack": "batchpilot_agent.job",
    "JobIds": "batchpilot.ids",
    "Registry": "batchpilot.registry.whole",
    "RuntimeEstimate": "batchpilot.runtimes",
    "Status": "batchpilot.status",
    "binpack": "batchpilot.chunking",
    "bt_map": "batchpilot.mapping",
    "chunk": "batchpilot.chunking",
    "estimate_runtimes": "batchpilot.runtimes",
    "grid": "batchpilot.vectors",
    "load_registry": "batchpilot.registry.whole",
    "lpt": "batchpilot.chunking",
    "make_experiment_registry": "batchpilot.registry.whole",
    "make_registry": "batchpilot.registry.whole",
    "unwrap": "batchpilot.unwrapping",
}
_MODULES = ("errors", "pools")

__all__ = [
    "BatchpilotError",
    "ExperimentRegistry",
    "HandBack",
    "JobIds",
    "Registry",
    "RuntimeEstimate",
    "Status",
    "binpack",
    "bt_map",
    "chunk",
    "errors",
    "estimate_runtimes",
    "grid",
    "load_registry",
    "lpt",
    "make_experiment_registry",
    "make_registry",
    "pools",
    "unwrap",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"batchpilot.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'batchpilot' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
