"""What an agent says of itself when it registers."""

from __future__ import annotations

import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path

from batchpilot_agent.settings import Settings
from batchpilot_broker.host import boot_id, host_name, process_start
from batchpilot_broker.nouns import AgentInfo


def agent_info(settings: Settings) -> AgentInfo:
    """Return what an agent says of itself when it registers."""
    return AgentInfo(
        id=settings.agent,
        pool=settings.pool,
        host=host_name(),
        boot=boot_id(),
        pid=os.getpid(),
        pid_start=process_start(os.getpid()),
        slots=settings.slots,
        cores=settings.cores,
        memory=settings.memory,
        gpus=len(settings.devices),
        deadline=settings.deadline,
        started=settings.started,
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        cloudpickle=_cloudpickle_version(),
        allocation=settings.allocation,
        scheduler_id=settings.scheduler_id,
        registry=os.fsencode(settings.paths.root).decode(errors="replace"),
    )


def _cloudpickle_version() -> str:
    """Return cloudpickle's version; its import takes 50 ms and is the templates' business."""
    spec = find_spec("cloudpickle")
    source = Path(spec.origin).read_text() if spec is not None and spec.origin else ""
    found = re.search(r'__version__ = "([^"]+)"', source)
    return found.group(1) if found else ""
