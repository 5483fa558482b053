"""Judge what a probe has found on a node: whether agents would work there."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from batchpilot.durations import duration
from batchpilot.pools import RemotePool
from batchpilot_broker.paths import RegistryPaths

from .finding import Finding, bad, note, ok


GIGABYTE = 1 << 30
FAR = 60.0
"""Seconds from which on two clocks differ by more than files take to be seen."""


def check_report(
    report: Mapping[str, Any], pool: RemotePool, paths: RegistryPaths
) -> Iterator[Finding]:
    """Yield a finding for each thing that a probe reports on.

    Args:
        report: What `batchpilot_agent.probe` has written, just now.
        pool: Where it ran.
        paths: The registry.
    """
    yield _python(report)
    yield _packages(report["packages"])
    yield ok("node directory", f"{paths.root} is this very one, in both directions")
    yield from _broker(report["broker"])
    yield _clock(time.time() - report["time"])
    yield _scratch(report["scratch"])
    yield _cores(report["cores"], pool)
    yield _memory(report["memory"], pool)
    yield _devices(report["devices"], pool)


def _python(report: Mapping[str, Any]) -> Finding:
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    text = f"{report['python']} at {report['executable']}"
    if report["python"] == here:
        return ok("node python", text)
    return bad(
        "node python", f"{text}, here it is {here}", f"name one of {here}: python=... of the pool"
    )


def _packages(found: Mapping[str, str | None]) -> Finding:
    missing = [name for name, told in found.items() if told is None]
    if missing:
        return bad(
            "node packages",
            f"not found there: {', '.join(missing)}",
            "install batchpilot for the pool's python, or name the one that has it: python=...",
        )
    ours, theirs = _own_version(), found["batchpilot"]
    if ours and theirs and ours != theirs:
        return bad(
            "node packages",
            f"batchpilot {theirs}, here it is {ours}",
            "use the same batchpilot on all hosts",
        )
    return ok("node packages", ", ".join(f"{name} {told}".strip() for name, told in found.items()))


def _own_version() -> str:
    try:
        return version("batchpilot")
    except PackageNotFoundError:  # run from its sources
        return ""


def _broker(addresses: list[Mapping[str, Any]]) -> Iterator[Finding]:
    """Yield a finding for each address; one that is reached is enough."""
    reached = any(not address["words"] for address in addresses)
    for address in addresses:
        if not address["words"]:
            yield ok("node broker", f"{address['url']} is reached, and the password accepted")
        elif reached:
            yield note("node broker", address["words"], "agents use another address")
        else:
            yield bad(
                "node broker",
                address["words"],
                "choose addresses and ports that nodes reach: BATCHPILOT_BROKER_LISTEN and "
                "BATCHPILOT_BROKER_PORTS, or a broker of your own in BATCHPILOT_BROKER_URL",
            )
    if not addresses:
        yield bad("node broker", "no address of it is for other hosts", "see logs/coordinator.log")


def _clock(behind: float) -> Finding:
    """Judge how far a clock is behind; what was written there may be seen here seconds later."""
    text = f"{duration(abs(behind))} {'behind' if behind > 0 else 'ahead of'} this one at most"
    if abs(behind) < FAR:
        return ok("node clock", text)
    return bad("node clock", text, "have the clocks set (NTP): agents leave by theirs")


def _scratch(found: Mapping[str, Any]) -> Finding:
    remedy = "set TMPDIR to a local directory: setup=['export TMPDIR=...'] of the pool"
    if found["words"]:
        return bad("node scratch", f"{found['path']}: {found['words']}", remedy)
    text = f"{found['path']} on {found['kind']}, {found['free'] / GIGABYTE:.1f} GB free"
    if not found["local"]:
        return bad("node scratch", f"{text}: a network file system", remedy)
    return ok("node scratch", text)


def _cores(found: int, pool: RemotePool) -> Finding:
    text = f"{found}, the pool says {pool.ncpus}"
    if found >= pool.ncpus:
        return ok("node cores", text)
    return bad("node cores", text, "ask for fewer: slots or resources={'ncpus': ...} of the pool")


def _memory(found: float, pool: RemotePool) -> Finding:
    if not found:
        return ok("node memory", "nothing there limits it")
    text = f"{found:.0f} MB" + (f", the pool says {pool.memory:.0f}" if pool.memory else "")
    if found >= pool.memory:
        return ok("node memory", text)
    return bad("node memory", text, "ask for less: resources={'memory': ...} of the pool")


def _devices(found: list[str], pool: RemotePool) -> Finding:
    text = f"{', '.join(found) or 'none'}, the pool says {pool.gpus}"
    if len(found) >= pool.gpus:
        return ok("node devices", text)
    return bad("node devices", text, "see how the site gives them: directives_extra of the pool")
