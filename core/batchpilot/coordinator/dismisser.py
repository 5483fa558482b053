"""Dismiss: tell agents to leave that a user has stopped and whose processes are elsewhere."""

from __future__ import annotations

from batchpilot.store.agents import dismissed, take_dismissed

from .desk import Desk


class Dismisser:
    """Carry out what `batchpilot agents stop` has ordered of agents on other hosts.

    Args:
        desk: What the duties share.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def tick(self) -> None:
        """Tell agents to finish what runs and leave, each once."""
        with self._desk.db.read() as tx:
            ordered = bool(dismissed(tx))
        if not ordered:
            return
        with self._desk.db.write() as tx:
            agents = take_dismissed(tx)
        for agent in agents:
            self._desk.broker.control(agent, "drain")
