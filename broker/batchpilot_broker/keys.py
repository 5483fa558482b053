"""The names of everything batchpilot keeps in the broker.

Each of our keys, and each RQ queue and job id, holds the registry's instance: registries can share
a broker, and a copied registry never touches the original's work. `docs/protocol.md` lists what
each key holds.
"""

from __future__ import annotations


class Keys:
    """Name the keys of one registry instance."""

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self.term = f"bp:{instance}:term"
        self.generation = f"bp:{instance}:generation"
        self.alive = f"bp:{instance}:coordinator"
        self.pulse = f"bp:{instance}:pulse"
        self.events = f"bp:{instance}:events"
        self.classes = f"bp:{instance}:classes"
        self.leases = f"bp:{instance}:leases"
        self.again = f"bp:{instance}:again"
        self.agents = f"bp:{instance}:agents"
        self.beats = f"bp:{instance}:beats"
        self.states = f"bp:{instance}:states"
        self.foreign = f"bp:{instance}:foreign"
        self.gone = f"bp:{instance}:gone"
        self.forged = f"bp:{instance}:forged"
        self.prefix = f"bp-{instance}-"

    def bell(self, class_id: str) -> str:
        """Return the doorbell list of a class."""
        return f"bp:{self.instance}:bell:{class_id}"

    def control(self, agent: str) -> str:
        """Return the list of control messages for an agent."""
        return f"bp:{self.instance}:control:{agent}"

    def answer(self, request: str) -> str:
        """Return the list that the answer to a request is put on."""
        return f"bp:{self.instance}:answer:{request}"

    def queue(self, class_id: str) -> str:
        """Return the name of the RQ queue of a class."""
        return f"bp-{self.instance}-{class_id}"

    def queue_list(self, class_id: str) -> str:
        """Return the list behind the RQ queue of a class."""
        return f"rq:queue:bp-{self.instance}-{class_id}"

    def job(self, chunk: int) -> str:
        """Return the id of the RQ job of a chunk."""
        return f"bp-{self.instance}-c{chunk}"

    def chunk(self, job: bytes) -> int | None:
        """Return the chunk number in an RQ job id, or None where the id is not ours."""
        number = job.removeprefix(f"{self.prefix}c".encode())
        return int(number) if number != job and number.isdigit() else None

    def worker(self, agent: str) -> str:
        """Return the RQ worker name of an agent."""
        return f"bp-{self.instance}-{agent}"

    def worker_hash(self, agent: str) -> str:
        """Return the hash that shows an agent as an RQ worker."""
        return f"rq:worker:bp-{self.instance}-{agent}"
