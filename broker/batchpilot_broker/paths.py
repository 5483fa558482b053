"""The one class that knows the names of the registry's files.

    registry-<term>.db   the database of the owner that took over in that term
    objects/<hash>       functions, data and code, by content
    segments/            <agent>.results and <agent>.logs, one pair an agent
    allocations/<id>/    rendered script, the scheduler's words, <element>.out of its agents;
                         of a coordinator's seat also sitter.json and look.json
    backup/              the two newest copies of the database
    broker.json          0600: where the broker is, and its password
    secret               0600: the key of every seal
    owner.json           host, pid, term, heartbeat of the owner
    seat.json            where the coordinator is to run, if a batch system starts it
    snapshot.db          what other hosts read; looked: touched by those that see no broker
    prometheus-targets.json   where the coordinator shows its metrics
    logs/                what coordinator, supervisor and agents say
    external/<job>/      files of the jobs' own
    cache/problems/      <problem>/<key>: instances that were made once; may be deleted at any time

Nobody else joins paths.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RegistryPaths:
    """Name the files below one registry directory."""

    root: Path

    def database(self, term: int) -> Path:
        """Return the database written since the takeover of a term."""
        return self.root / f"registry-{term}.db"

    @property
    def snapshot(self) -> Path:
        """Return the copy of the database that other hosts read."""
        return self.root / "snapshot.db"

    @property
    def looked(self) -> Path:
        """Return the file that hosts touch which read the snapshot and see no broker."""
        return self.root / "looked"

    @property
    def objects(self) -> Path:
        """Return the directory of content-addressed objects."""
        return self.root / "objects"

    @property
    def segments(self) -> Path:
        """Return the directory of segments."""
        return self.root / "segments"

    @property
    def allocations(self) -> Path:
        """Return the directory of allocations."""
        return self.root / "allocations"

    def allocation(self, allocation: str) -> Path:
        """Return the directory of one allocation: its script, and what was said of it."""
        return self.allocations / allocation

    def element_output(self, allocation: str, element: int) -> Path:
        """Return what the agent of one element of an allocation says."""
        return self.allocation(allocation) / f"{element}.out"

    def probe(self, allocation: str, what: str) -> Path:
        """Return what a probe was `asked`, that it has `begun`, or its `report`."""
        return self.allocation(allocation) / f"probe-{what}.json"

    @property
    def backup(self) -> Path:
        """Return the directory of database backups."""
        return self.root / "backup"

    @property
    def logs(self) -> Path:
        """Return the directory of the programs' own logs."""
        return self.root / "logs"

    @property
    def broker(self) -> Path:
        """Return the record of the broker."""
        return self.root / "broker.json"

    @property
    def secret(self) -> Path:
        """Return the file of the registry's key."""
        return self.root / "secret"

    @property
    def owner(self) -> Path:
        """Return the record of the owner."""
        return self.root / "owner.json"

    @property
    def seat(self) -> Path:
        """Return the record of the coordinator's seat, where a batch system starts it."""
        return self.root / "seat.json"

    def sitter(self, allocation: str) -> Path:
        """Return what the supervisor that runs in an allocation says of itself."""
        return self.allocation(allocation) / "sitter.json"

    def look(self, allocation: str) -> Path:
        """Return what the batch system said when it was last asked about a seat."""
        return self.allocation(allocation) / "look.json"

    @property
    def targets(self) -> Path:
        """Return the file that tells Prometheus where the coordinator is."""
        return self.root / "prometheus-targets.json"

    @property
    def external(self) -> Path:
        """Return the directory of the jobs' own directories; it is made by the first of them."""
        return self.root / "external"

    @property
    def cache(self) -> Path:
        """Return the directory of what can be made again; it is made by the first that needs it."""
        return self.root / "cache"

    def instances(self, problem: str) -> Path:
        """Return the directory of a problem's instances, each made once."""
        return self.cache / "problems" / problem

    def agent_log(self, agent: str) -> Path:
        """Return what an agent says, its own log."""
        return self.logs / f"{agent}.log"

    def results(self, agent: str) -> Path:
        """Return the result segment of an agent."""
        return self.segments / f"{agent}.results"

    def job_logs(self, agent: str) -> Path:
        """Return the log segment of an agent."""
        return self.segments / f"{agent}.logs"

    def log_of(self, result_segment: str) -> Path:
        """Return the log segment beside a result segment, named as in events."""
        return self.segments / (result_segment.removesuffix(".results") + ".logs")
