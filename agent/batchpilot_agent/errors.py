"""The errors of running jobs; all hang below `BatchpilotError`.

* BatchpilotError
  x AgentError
    + EpochError            the code of a submission cannot be had
      - ObjectMissing       an object is not in the registry
      - ObjectForged        an object's bytes do not match its name
      - ImportFailed        the code does not load; its traceback is kept
    + CannotPickle          a function or value cannot be sent to the agents
    + SlotError             a slot or template cannot go on
    + CommandFailed         a program started by `job.run` failed
    + LaunchError           a batch system did not do what was asked
      - LaunchRefused       and never will: the pool has to be changed
        = TemplateBroken    the job script cannot be made
      - LaunchPostponed     but may do it later: a limit, a daemon that is down, a timeout
"""

from __future__ import annotations

from batchpilot_broker.errors import BatchpilotError


class AgentError(BatchpilotError):
    """Be the root of the agent's errors."""


class EpochError(AgentError):
    """Say that the code of a submission cannot be had."""


class ObjectMissing(EpochError):
    """Say that an object is not in the registry."""


class ObjectForged(EpochError):
    """Say that an object's bytes are not those it is named after."""


class ImportFailed(EpochError):
    """Say that the code of a submission does not load; `__cause__` is the reason."""


class CannotPickle(AgentError):
    """Say that a function or value cannot be pickled, and which part of it."""


class SlotError(AgentError):
    """Say that a slot or a template cannot go on."""


class CommandFailed(AgentError):
    """Say that a program started by a job failed.

    Attributes:
        exit_code: What it returned; the negative number of a signal that ended it.
        lines: Its last lines of output, as far as they went to the job's log.
    """

    def __init__(self, message: str, *, exit_code: int, lines: list[str], remedy: str) -> None:
        super().__init__(message, remedy=remedy)
        self.exit_code = exit_code
        self.lines = lines


class LaunchError(AgentError):
    """Say that a batch system did not do what was asked; the message has its own words."""


class LaunchRefused(LaunchError):
    """Say that a batch system refused what it will never accept."""


class TemplateBroken(LaunchRefused):
    """Say that a job script cannot be made from its template."""


class LaunchPostponed(LaunchError):
    """Say that a batch system could not, or not yet, do what was asked."""
