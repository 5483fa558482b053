"""Start an agent: `python -m batchpilot_agent --registry DIR --pool NAME --allocation ID …`.

This process becomes the keeper, its child the pilot; what the pilot needs is loaded only there.
Exit codes:

    0 left as planned (idle, drained, told to)       66 the registry is not there (any more)
    2 wrong arguments                                69 no broker for `--orphan-timeout`
    76 refused by the coordinator                    70 failed, the log says why
    128 + n: the pilot was ended by signal n

An element of an allocation may be started twice, by a batch system that runs again what it has
lost; so its name ends with the number of the element and a nonce. Its walltime counts from the
start of the script whose place it took, so that what the pool's `setup` needed is in it.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import sys
import time
from pathlib import Path

from batchpilot_broker.errors import StorageError
from batchpilot_broker.files import read_json
from batchpilot_broker.host import host_name, seconds_since_start
from batchpilot_broker.journal import LogFormat, start_log
from batchpilot_broker.paths import RegistryPaths

from .allocation import DEVICE_VARIABLES, Allocation, read_allocation
from .keeper import keep
from .scratch import new_scratch
from .settings import Exit, Settings


def main(argv: list[str] | None = None) -> int:
    """Be an agent; return its exit code."""
    args = _parser().parse_args(argv)
    if args.element:
        args.agent = f"{args.agent}-{args.element}-{os.urandom(2).hex()}"
        args.allocation = f"{args.allocation}.{args.element}"
    paths = RegistryPaths(args.registry.absolute())
    try:
        owner = read_json(paths.owner)
    except StorageError as error:
        _start_log(args)
        logging.error("%s", error)  # noqa: LOG015, TRY400 - nothing is set up yet, and the message says it all
        return Exit.REGISTRY_GONE
    _start_log(args, registry=str((owner or {}).get("id", "")))
    if owner is None or "instance" not in owner:
        logging.error("%s is no registry", paths.root)  # noqa: LOG015 - nothing is set up yet
        return Exit.REGISTRY_GONE
    remote = owner.get("host") not in (None, host_name())
    settings = _settings(args, paths, str(owner["instance"]), remote=remote)
    return keep(settings.markers, settings.scratch, lambda: _fly(settings))


def _start_log(args: argparse.Namespace, **facts: str) -> None:
    text = f"%(asctime)s {args.agent} %(levelname)s %(message)s"
    start_log(args.log_format, text, agent=args.agent, **facts)


def _fly(settings: Settings) -> int:
    from .pilot.pilot import fly  # noqa: PLC0415 - loads redis, which the keeper must not

    return fly(settings)


def _settings(
    args: argparse.Namespace, paths: RegistryPaths, instance: str, *, remote: bool
) -> Settings:
    started = time.time()
    began = started - (seconds_since_start() if args.element else 0.0)
    given = read_allocation(os.environ, host_name())
    ends = [began + args.walltime] if args.walltime else []
    cores, memory = _granted(args, given)
    return Settings(
        paths=paths,
        instance=instance,
        agent=args.agent,
        pool=args.pool,
        scratch=new_scratch(os.environ),
        slots=args.slots or max(1, cores),
        cores=cores or args.slots or 1,
        memory=memory,
        devices=(given.devices or tuple(map(str, range(args.gpus))))[: args.gpus],
        device_variables=tuple(
            name for name in DEVICE_VARIABLES if name in os.environ or name == DEVICE_VARIABLES[0]
        ),
        idle_timeout=args.idle_timeout,
        orphan_timeout=args.orphan_timeout,
        grace=args.grace,
        start=args.start,
        started=started,
        began=began,
        deadline=min([*ends, given.ends] if given.ends else ends, default=0.0),
        allocation=args.allocation,
        scheduler_id=given.element,
        remote=remote,
        crowd=args.crowd,
        variables=args.variables,
    )


def _granted(args: argparse.Namespace, given: Allocation) -> tuple[int, float]:
    """Return cores and memory: as the command line says, or as allocated where it does not.

    An element of an allocation gets no more than that has. Where the user has started the agent,
    as on the machine of the session, more was said on purpose.
    """
    cores, memory = args.cores or given.cores, args.memory or given.memory
    if args.element:
        cores = min(cores, given.cores or cores)
        memory = min(memory, given.memory or memory)
    return cores, memory


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m batchpilot_agent", description=__doc__)
    add = parser.add_argument
    add("--registry", type=Path, required=True, help="directory of the registry")
    add("--agent", type=_name, required=True, help="name, unique in the registry for ever")
    add("--pool", required=True, help="pool that starts it")
    add("--slots", type=_count, default=0, help="most jobs at once; default: one a core")
    add("--cores", type=_count, default=0, help="cores for its jobs; default: as allocated")
    add("--memory", type=float, default=0.0, help="MB for its jobs; default: as allocated")
    add("--gpus", type=int, default=0, help="devices for its jobs")
    add("--idle-timeout", type=float, default=300.0, help="seconds without work before it leaves")
    add("--orphan-timeout", type=float, default=3600.0, help="the same without a coordinator")
    add("--grace", type=float, default=10.0, help="seconds for running jobs when it leaves")
    add("--start", choices=("fork", "spawn"), default="fork", help="how slots come into being")
    add("--walltime", type=float, default=0.0, help="seconds until its allocation ends")
    add("--allocation", default="", help="id of its allocation")
    add("--crowd", type=_count, default=1, help="agents that start at once with it")
    add("--variables", type=json.loads, help="of its job script, as JSON: it serves only such jobs")
    add("--element", type=_count, default=0, help="its number there, which goes to its name")
    add("--log-format", choices=list(LogFormat), default="text", help="how log lines are written")
    return parser


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", text):
        raise argparse.ArgumentTypeError("letters, digits, '.', '_', '-' only, at most 100")
    return text


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
