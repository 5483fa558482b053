"""The tree of errors a user can meet; every message names what is wrong and ends with a remedy.

* BatchpilotError                     the root (defined below in the broker, re-exported here)
  x RegistryError
    + RegistryExists                  make_registry where something is already
    + RegistryMissing                 nothing there (exit code 3)
    + RegistryDamaged                 database or record unreadable: `batchpilot repair`
    + RegistryBusy                    another process holds the write lock too long
    + ReadOnly                        a changing call on a registry opened for reading
    + OwnershipLost                   another host has taken the registry over
    + AlreadyOwned                    a coordinator runs already
  x DefinitionError                   what was given cannot become jobs
    + UnknownName                     an expression names nothing known
  x SubmissionError                   what was given cannot be submitted
    + NoSuchPool                      no pool can ever serve the resources asked for
  x JobsNotFound                      no such id (exit code 3)
  x JobNotDone                        a result that is not there
  x JobFailed                         a result of a job that ended in an error
  x ResultUnreadable                  a result that cannot be unpickled here
  x LogMissing                        a job that has no log
  x NoSuchAgent                     no such agent (exit code 3)
  x CodeMissing                       a job that was not submitted, a module its code has not
  x CoordinatorError
    + CoordinatorFailed               it did not start, or died
  x ExtraMissing                      a command needs packages of an extra that is not installed
  x BrokerError, WireError, StorageError and theirs: see batchpilot_broker.errors
  x AgentError and its own: see batchpilot_agent.errors
"""

from __future__ import annotations

from batchpilot_broker.errors import (
    BatchpilotError,
    BrokerError,
    BrokerFull,
    BrokerRefused,
    BrokerTooOld,
    BrokerUnavailable,
    StorageError,
    TermSuperseded,
    WireError,
)


class RegistryError(BatchpilotError):
    """Say that a registry cannot be used as asked."""


class RegistryExists(RegistryError):
    """Say that the place for a new registry is taken."""


class RegistryMissing(RegistryError):
    """Say that there is no registry."""

    exit_code = 3


class RegistryDamaged(RegistryError):
    """Say that a registry cannot be read."""


class RegistryBusy(RegistryError):
    """Say that another process kept the database locked."""


class ReadOnly(RegistryError):
    """Say that the registry was opened for reading only."""


class OwnershipLost(RegistryError):
    """Say that another host owns the registry now."""


class AlreadyOwned(RegistryError):
    """Say that a coordinator runs already."""


class DefinitionError(BatchpilotError):
    """Say that what was given cannot become jobs."""


class UnknownName(DefinitionError):
    """Say that an expression uses a name that is neither a parameter nor a variable."""


class SubmissionError(BatchpilotError):
    """Say that what was given cannot be submitted."""


class NoSuchPool(SubmissionError):
    """Say that no pool can ever serve the resources asked for."""


class JobsNotFound(BatchpilotError):
    """Say that there is no such job."""

    exit_code = 3


class JobNotDone(BatchpilotError):
    """Say that a job has no result yet."""


class JobFailed(BatchpilotError):
    """Say that a job ended in an error."""


class ResultUnreadable(BatchpilotError):
    """Say that a result cannot be unpickled in this process."""


class LogMissing(BatchpilotError):
    """Say that a job has no log."""

    exit_code = 3


class NoSuchAgent(BatchpilotError):
    """Say that there is no such agent."""

    exit_code = 3


class CodeMissing(BatchpilotError):
    """Say that no such code is kept for a job."""

    exit_code = 3


class CoordinatorError(BatchpilotError):
    """Say that the coordinator cannot do its work."""


class CoordinatorFailed(CoordinatorError):
    """Say that the coordinator did not start or died."""


class ExtraMissing(BatchpilotError):
    """Say that a command needs packages of an extra that is not installed."""


__all__ = [
    "AlreadyOwned",
    "BatchpilotError",
    "BrokerError",
    "BrokerFull",
    "BrokerRefused",
    "BrokerTooOld",
    "BrokerUnavailable",
    "CodeMissing",
    "CoordinatorError",
    "CoordinatorFailed",
    "DefinitionError",
    "ExtraMissing",
    "JobFailed",
    "JobNotDone",
    "JobsNotFound",
    "LogMissing",
    "NoSuchAgent",
    "NoSuchPool",
    "OwnershipLost",
    "ReadOnly",
    "RegistryBusy",
    "RegistryDamaged",
    "RegistryError",
    "RegistryExists",
    "RegistryMissing",
    "ResultUnreadable",
    "StorageError",
    "SubmissionError",
    "TermSuperseded",
    "UnknownName",
    "WireError",
]
