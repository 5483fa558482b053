"""Welcome: let agents on other hosts claim once they have shown that they see this very registry.

    registered -> shown: the file that it alone makes is seen here    -> welcome
              `-> not within `patience`: it has another directory     -> refused, both paths named

An agent on this host needs no proof, and one that finds no coordinator does not wait for any.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from batchpilot.store.records import FS_LATENCY
from batchpilot_broker.host import host_name
from batchpilot_broker.nouns import AgentInfo

from .desk import Desk
from .happenings import AgentRefused


class Welcomer:
    """Bid agents welcome, or refuse them.

    Args:
        desk: What the duties share.
        monotonic: Gives seconds that never go back.
        patience: Seconds within which files made on another host are seen here.
    """

    def __init__(
        self,
        desk: Desk,
        monotonic: Callable[[], float] = time.monotonic,
        patience: float = FS_LATENCY,
    ) -> None:
        self._desk = desk
        self._monotonic = monotonic
        self._patience = patience
        self._since: dict[str, float] = {}
        self._told: set[str] = set()

    def hello(self, agent: str) -> None:
        """Note that an agent has come (again), and may have missed what it was told."""
        self._told.discard(agent)

    def tick(self) -> None:
        """Look for the files of those that have not been told yet."""
        moment = self._monotonic()
        agents = self._desk.survey.agents
        self._told &= agents.keys()
        self._since = {agent: when for agent, when in self._since.items() if agent in agents}
        for agent in agents.keys() - self._told:
            info = agents[agent]
            if info.host == host_name():
                self._told.add(agent)
                continue
            late = moment - self._since.setdefault(agent, moment) > self._patience
            if self._shown(agent):
                self._tell(agent, "welcome")
            elif late:
                why = self._other_place(info)
                self._tell(agent, "refused", why=why)
                self._desk.bus.tell(AgentRefused(agent, info.pool, why))

    def _shown(self, agent: str) -> bool:
        return self._desk.paths.results(agent).exists()

    def _tell(self, agent: str, kind: str, **words: str) -> None:
        self._desk.broker.control(agent, kind, **words)
        self._told.add(agent)

    def _other_place(self, info: AgentInfo) -> str:
        root = self._desk.paths.root
        return (
            f"what it writes to {info.registry} on {info.host} does not appear in {root} on"
            f" {host_name()}: put the registry on a file system that both share"
        )
