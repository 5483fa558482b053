"""The registry as a state machine: whatever comes, in any order, the rules of jobs hold.

Sessions submit, kill and reset; agents claim, finish, fail, die, freeze, hand back, report late,
twice or never; coordinators are replaced and do not know it; the broker loses its data; the
database is destroyed and repaired. After each step the invariants are looked at, and in the end
everything that was submitted is run to its end.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from tests.core.book import CLASS

from batchpilot.errors import OwnershipLost
from batchpilot.store.changing import MAX_ATTEMPTS, ROW_DTYPE
from batchpilot.store.pages import ENDED_STATES, LIVE_STATES, State
from batchpilot_broker.errors import TermSuperseded
from batchpilot_broker.nouns import Outcome

from .ledger import Ledger
from .stage import Stage


JOBS = 6
MANY = 200
IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - a directory of its own; a disk would be waited for
ids = st.sets(st.integers(1, JOBS), min_size=1).map(sorted)


class Machine(RuleBasedStateMachine):
    """Do to a registry what can be done, and keep a tiny model of what must be true.

    Attributes:
        submitted: Jobs that a user has submitted and neither killed nor reset.
        backed_up: Those of them that a backup knows as they are now submitted.
        ended: (attempt, outcome) by which a job has ended, for as long as that counts.
    """

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="machine-", dir=IN_MEMORY))
        self.stage = Stage(self.root / "registry")
        self.ledger = Ledger(self.stage)
        self.submitted: set[int] = set()
        self.backed_up: set[int] = set()
        self.has_backup = False
        self.ended: dict[int, tuple[int, int]] = {}
        self.before: dict[str, list[int]] = {}

    def teardown(self) -> None:
        """Let what is left run to its end, and clean up."""
        try:
            if self.before and sys.exc_info()[0] is None:
                self.run_to_the_end()
        finally:
            self.stage.close()
            shutil.rmtree(self.root)

    @initialize()
    def begin(self) -> None:
        """Define the jobs, hire the first agent."""
        self.stage.book.define(JOBS)
        self.before = self.ledger.columns()
        self.stage.hire()

    # Sessions.

    @rule(chosen=ids)
    def submit(self, chosen: list[int]) -> None:
        """Submit those that are not on the system."""
        states = self.before["state"]
        free = [job for job in chosen if states[job - 1] not in LIVE_STATES]
        if free:
            self.stage.submit(free)
            self.submitted.update(free)
            self.forget(free)

    @rule(chosen=ids)
    def kill_or_reset(self, chosen: list[int]) -> None:
        """Take jobs back."""
        self.stage.revoke(chosen)
        self.submitted.difference_update(chosen)
        self.forget(chosen)

    # The coordinator.

    @rule()
    def feed(self) -> None:
        """Feed."""
        self.stage.feed()

    @rule()
    def audit(self) -> None:
        """Audit."""
        self.stage.audit()

    @rule(seconds=st.sampled_from([1, 17, 130]))
    def wait(self, seconds: int) -> None:
        """Let time pass."""
        self.stage.wait(seconds)

    @rule()
    def restart(self) -> None:
        """Let a new coordinator take office; the old one does not know."""
        self.stage.restart()

    @precondition(lambda self: self.stage.predecessor is not None)
    @rule(chosen=ids, what=st.sampled_from(["feed", "apply", "judge", "cancel"]))
    def zombie(self, chosen: list[int], what: str) -> None:
        """Let the coordinator of before try to change something."""
        old = self.stage.predecessor
        assert old is not None
        counted = self.ledger.columns()
        try:
            if what == "apply":
                old.book.apply(*((job, 1, Outcome.DONE) for job in chosen))
            elif what == "judge":
                old.judge.end("a1", "lost", 1.0)
            elif what == "cancel":
                old.broker.withdraw(CLASS, [1])
            elif not old.feeder.tick(self.stage.clock):
                return
        except (OwnershipLost, TermSuperseded):
            assert self.ledger.columns() == counted
            return
        pytest.fail(f"a coordinator of the past may still {what}")

    @rule()
    def lose_broker(self) -> None:
        """Lose all that the broker holds."""
        self.stage.lose_broker()

    @rule()
    def back_up(self) -> None:
        """Make a backup."""
        self.stage.back_up()
        self.backed_up, self.has_backup = set(self.submitted), True

    @precondition(lambda self: self.has_backup)
    @rule()
    def destroy_and_repair(self) -> None:
        """Destroy the database and repair the registry."""
        self.stage.repair(destroyed=True)
        self.after_repair(self.backed_up)

    @rule()
    def repair(self) -> None:
        """Repair a registry that is sound."""
        self.stage.repair(destroyed=False)
        self.after_repair(self.submitted)

    # Agents.

    @precondition(lambda self: len(self.stage.workers) < 3)
    @rule()
    def hire(self) -> None:
        """Let another agent register."""
        self.stage.hire()

    @precondition(lambda self: self.idle() and self.stage.broker.queues[CLASS])
    @rule(data=st.data())
    def claim(self, data: st.DataObject) -> None:
        """Let an idle agent claim a chunk and begin it."""
        self.stage.claim(data.draw(st.sampled_from(self.idle())))

    @precondition(lambda self: self.busy())
    @rule(data=st.data(), outcome=st.sampled_from(Outcome), told=st.booleans())
    def finish(self, data: st.DataObject, outcome: Outcome, *, told: bool) -> None:
        """Let an agent end its next job, in any way; it may tell of it."""
        name = data.draw(st.sampled_from(self.busy()))
        self.stage.finish(name, outcome)
        if told and not self.stage.workers[name].frozen:
            self.stage.tell(name)

    @precondition(lambda self: self.busy())
    @rule(data=st.data(), reason=st.sampled_from(["drain", "overrun"]))
    def hand_back(self, data: st.DataObject, reason: str) -> None:
        """Let an agent hand back what it has not ended."""
        self.stage.hand_back(data.draw(st.sampled_from(self.busy())), reason)

    @precondition(lambda self: self.stage.workers)
    @rule(data=st.data(), heard=st.booleans())
    def tell(self, data: st.DataObject, *, heard: bool) -> None:
        """Let an agent report; the report may get lost."""
        self.stage.tell(data.draw(self.one_of_them()), heard=heard)

    @precondition(lambda self: any(w.reports for w in self.stage.workers.values()))
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """Let an old report come again."""
        names = [name for name, w in self.stage.workers.items() if w.reports]
        name = data.draw(st.sampled_from(names))
        self.stage.repeat(
            name, data.draw(st.integers(0, len(self.stage.workers[name].reports) - 1))
        )

    @precondition(lambda self: self.stage.workers)
    @rule(data=st.data(), frozen=st.booleans())
    def freeze_or_thaw(self, data: st.DataObject, *, frozen: bool) -> None:
        """Freeze an agent, or wake it."""
        self.stage.workers[data.draw(self.one_of_them())].frozen = frozen

    @precondition(lambda self: self.stage.workers)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        """Let the coordinator learn that an agent is dead."""
        self.stage.die(data.draw(self.one_of_them()))

    # What must be true.

    @invariant()
    def only_the_allowed_combinations(self) -> None:
        """Check that a job is submitted, started, done, in error as the inventory allows."""
        now = self.ledger.columns()
        for state, submission, outcome, attempt in zip(
            now["state"], now["submission"], now["outcome"], now["attempt"], strict=True
        ):
            assert state != State.ABSENT
            assert (outcome > 0) == (state in ENDED_STATES)
            assert submission == 0 or state != State.DEFINED
            assert submission > 0 or state not in LIVE_STATES
            assert attempt > 0 or state in (State.DEFINED, State.QUEUED)

    @invariant()
    def attempts_only_grow(self) -> None:
        """Check attempts and floors against those before, and what is charged."""
        now = self.ledger.columns()
        for name in ("attempt", "floor"):
            assert (np.array(now[name]) >= np.array(self.before[name])).all(), name
        assert (np.array(now["floor"]) <= np.array(now["attempt"])).all()
        assert max(now["charged"], default=0) <= MAX_ATTEMPTS
        self.before = now

    @invariant()
    def a_submitted_job_stays_submitted(self) -> None:
        """Check that what a user has submitted, and nothing else, is submitted."""
        states = self.ledger.columns()["state"]
        assert {job for job, s in enumerate(states, 1) if s != State.DEFINED} == self.submitted

    @invariant()
    def an_end_is_a_record_on_disk_and_stays(self) -> None:
        """Check each end against its record, and that the first one has won."""
        for job, end in self.ledger.ends().items():
            assert self.ended.setdefault(job, end) == end, f"job {job} ended twice"

    @invariant()
    def nothing_is_counted_twice(self) -> None:
        """Check that of each job one record counts at most."""
        floors = self.ledger.columns()["floor"]
        with self.stage.book.database.read() as tx:
            blobs = b"".join(blob for _, _, blob in tx.all("all_outcomes"))
        rows = np.frombuffer(blobs, ROW_DTYPE)
        counted = Counter(
            job
            for job, attempt in zip(rows["job"].tolist(), rows["attempt"].tolist(), strict=True)
            if attempt > floors[job - 1]
        )
        assert not counted or max(counted.values()) == 1

    @invariant()
    def nothing_is_lost(self) -> None:
        """Check that each job that is to run is in one place from which it will."""
        now, places = self.ledger.columns(), self.ledger.places()
        for job, state in enumerate(now["state"], 1):
            assert places[job] == (state in LIVE_STATES), (job, State(state), places[job])

    # The model.

    def idle(self) -> list[str]:
        """Return the agents that can claim."""
        known = self.stage.broker.known
        return [
            n
            for n, w in self.stage.workers.items()
            if w.chunk is None and not w.frozen and n in known
        ]

    def busy(self) -> list[str]:
        """Return the agents that hold jobs, frozen or not."""
        return [name for name, worker in self.stage.workers.items() if worker.left]

    def one_of_them(self) -> st.SearchStrategy[str]:
        """Draw an agent."""
        return st.sampled_from(sorted(self.stage.workers))

    def forget(self, jobs: list[int]) -> None:
        """Forget how jobs ended, and that a backup knows them."""
        self.backed_up.difference_update(jobs)
        for job in jobs:
            self.ended.pop(job, None)

    def after_repair(self, known: set[int]) -> None:
        """Check what a repair must save: all ends, and what was submitted before the backup."""
        states = self.ledger.columns()["state"]
        assert {job for job in self.ended if states[job - 1] not in ENDED_STATES} == set()
        assert {job for job in known if states[job - 1] == State.DEFINED} == set()
        left = {job for job, state in enumerate(states, 1) if state != State.DEFINED}
        assert left - self.ledger.queued_as_before() <= self.submitted
        self.submitted, self.ended = left, {}
        self.backed_up &= left

    def run_to_the_end(self) -> None:
        """Let an honest agent do what is left: each submitted job ends."""
        for name in list(self.stage.workers):
            self.stage.die(name)
        self.stage.hire()
        (name,) = self.stage.workers
        for _ in range(MANY):
            self.stage.feed()
            while self.stage.broker.queues[CLASS]:
                self.stage.claim(name)
                while self.stage.workers[name].left:
                    self.stage.finish(name, Outcome.DONE)
                self.stage.tell(name)
            self.stage.audit()
            if not set(self.ledger.columns()["state"]) & set(LIVE_STATES):
                break
        states = self.ledger.columns()["state"]
        assert {job for job, s in enumerate(states, 1) if s in ENDED_STATES} == self.submitted
        self.an_end_is_a_record_on_disk_and_stays()
        self.nothing_is_counted_twice()


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=int(os.environ.get("BATCHPILOT_TEST_EXAMPLES", "15")),
    stateful_step_count=40,
    report_multiple_bugs=False,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),  # to explain takes minutes
)
