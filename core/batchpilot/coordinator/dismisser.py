"""Dismiss: tell agents to leave that `agents stop` has named, wherever they run.

Those that wait in the queue of a batch system are cancelled by the allocator; one that comes before
that is told here.
"""

from __future__ import annotations

from batchpilot.store.allocations import pilots_alive
from batchpilot.store.dismissals import dismissed, forget_dismissed

from .desk import Desk


class Dismisser:
    """Tell agents to leave, and forget those that have gone.

    Args:
        desk: What the duties share.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._told: set[str] = set()

    def hello(self, agent: str) -> None:
        """Note that an agent has come (again), and may have missed what it was told."""
        self._told.discard(agent)

    def tick(self) -> None:
        """Tell those who have not been told."""
        with self._desk.db.read() as tx:
            names = dismissed(tx)
            if not names:
                return
            live = {str(agent) for agent, _ in tx.all("live_agents")}
            pilots = pilots_alive(tx)
        came = {pilot.agent for pilot in pilots if pilot.id in names}
        self._told &= live
        for agent in sorted((names | came) & self._desk.survey.agents.keys() - self._told):
            self._desk.broker.control(agent, "drain")
            self._told.add(agent)
        gone = names - live - {pilot.id for pilot in pilots}
        if gone:
            with self._desk.db.write() as tx:
                forget_dismissed(tx, gone)
