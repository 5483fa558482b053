"""The screen of `batchpilot status`, made from a snapshot.

It fits 80 columns and needs no colour to be understood.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.text import Text

from batchpilot.durations import HOUR, duration

from .grouping import Group, short_ids
from .snapshot import PoolUse, Snapshot


__all__ = ["duration", "render", "shorten"]

BAR = 40
WIDTH = 78
MOST_ERRORS = 5

State = Mapping[str, Any]


def render(snapshot: Snapshot, *, fancy: bool = False) -> Text:
    """Return the screen; bar and colours only where `fancy`."""
    screen = Text()
    for line in _lines(snapshot, fancy=fancy):
        screen.append_text(line if isinstance(line, Text) else Text(line)).append("\n")
    screen.right_crop(1)
    return screen


def _lines(snapshot: Snapshot, *, fancy: bool) -> Iterator[str | Text]:
    yield f"Registry {snapshot.registry}"
    yield str(snapshot.jobs)
    yield _progress(snapshot, fancy=fancy)
    yield from _agents(snapshot.agents)
    yield from _errors(snapshot)
    yield _daemon("Coordinator", snapshot.coordinator, _office)
    yield _daemon("Broker", snapshot.broker, _server)
    yield from (Text(f"Trouble: {trouble}", style="red") for trouble in snapshot.trouble)


def _progress(snapshot: Snapshot, *, fancy: bool) -> str | Text:
    jobs = snapshot.jobs
    if not jobs.defined:
        return "No jobs yet: define them with reg.batch_map(...)"
    if not jobs.submitted:
        return f"Nothing submitted yet: batchpilot submit {snapshot.registry}"
    share = snapshot.ended / jobs.submitted
    return Text.assemble(_bar(share, fancy=fancy), f" {100 * share:5.1f} %", _forecast(snapshot))


def _bar(share: float, *, fancy: bool) -> Text:
    full = round(BAR * share)
    if fancy:
        return Text.assemble(("━" * full, "green"), ("━" * (BAR - full), "bright_black"))
    return Text("[" + "#" * full + "." * (BAR - full) + "]")


def _forecast(snapshot: Snapshot) -> str:
    if not snapshot.left:
        return "  all ended"
    if snapshot.pace is None:
        return f"  {snapshot.left} to go"
    pace = (
        f"{snapshot.pace:.1f} jobs/s"
        if snapshot.pace >= 1
        else f"{snapshot.pace * HOUR:.0f} jobs/h"
    )
    return f"  {pace}, about {duration(snapshot.seconds_left or 0)} left"


def _agents(pools: tuple[PoolUse, ...]) -> Iterator[str]:
    if not pools:
        yield "Agents: none"
    for use in pools:
        agents = "1 agent" if use.agents == 1 else f"{use.agents} agents"
        yield f"Agents of pool {use.pool}: {agents}, {use.busy} of {use.slots} slots busy"


def _errors(snapshot: Snapshot) -> Iterator[str | Text]:
    if not snapshot.errors:
        return
    jobs = snapshot.jobs
    seen, failed = sum(group.count for group in snapshot.errors), jobs.error + jobs.expired
    among = "" if seen >= failed else f", the last {seen} of them by message"
    yield Text(f"Errors: {jobs.error}, expired: {jobs.expired}{among}", style="red")
    for group in snapshot.errors[:MOST_ERRORS]:
        yield _error(group)


def _error(group: Group) -> str:
    head, tail = f"  {group.count:5d} x ", f"  (jobs {short_ids(group.ids)})"
    room = WIDTH - len(head) - len(tail)
    return head + shorten(group.headline, room) + tail


def _daemon(name: str, state: State, details: Callable[[State], str]) -> Text:
    if state["running"]:
        return Text.assemble(f"{name}: ", ("running", "green"), f", {details(state)}")
    return Text.assemble(f"{name}: ", (state.get("seat") or "not running", "yellow"))


def _office(state: State) -> str:
    return f"process {state['pid']} on {state['host']}, term {state['term']}"


def _server(state: State) -> str:
    return f"{state['version']} at {state['url']}"


def shorten(text: str, room: int) -> str:
    """Return a text that fits, with dots where it was cut.

    Example:
        >>> shorten("something long", 10)
        'somethi...'
    """
    return text if len(text) <= room else text[: max(room - 3, 0)] + "..."
