"""The errors of the wire and of the broker, and the root of every error of batchpilot.

* BatchpilotError
  x BrokerError                 the broker cannot be used
    + BrokerUnavailable         nobody answers, or no server can be started (exit code 69)
    + BrokerRefused             wrong password, missing right
    + BrokerTooOld              older than Redis 6.2 / Valkey 7.2
    + BrokerFull                maxmemory reached
    + TermSuperseded            another coordinator owns the registry now
  x WireError                   bytes that are not ours
    + ForgedMessage             the seal does not match: altered, or another key
    + UnknownVersion            written by an incompatible batchpilot
    + BrokenFrame               a torn or flipped record of a segment
  x StorageError                the registry's directory cannot be read or written

The registry's own errors (`batchpilot.errors`) and the agent's hang below the same root.
"""

from __future__ import annotations


class BatchpilotError(Exception):
    """Be the root of all errors of batchpilot; the message ends with a remedy."""

    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "", **fields: object) -> None:
        super().__init__(f"{message}; {remedy}" if remedy else message)
        self.message = message
        self.remedy = remedy
        self.fields = fields


class BrokerError(BatchpilotError):
    """Say that the broker cannot be used."""


class BrokerUnavailable(BrokerError):
    """Say that no broker answers and none can be started."""

    exit_code = 69


class BrokerRefused(BrokerError):
    """Say that the broker refused the password or a command."""

    exit_code = 69


class BrokerTooOld(BrokerError):
    """Say that the server is below the floor of Redis 6.2 / Valkey 7.2."""

    exit_code = 69


class BrokerFull(BrokerError):
    """Say that the broker has reached its memory limit."""


class TermSuperseded(BrokerError):
    """Say that another coordinator has taken the registry over."""


class WireError(BatchpilotError):
    """Say that bytes read from outside are not what batchpilot writes."""


class ForgedMessage(WireError):
    """Say that a message was altered or sealed with another key."""


class UnknownVersion(WireError):
    """Say that a message was written by an incompatible version."""


class BrokenFrame(WireError):
    """Say that a record of a segment is torn or damaged."""


class StorageError(BatchpilotError):
    """Say that a file of the registry cannot be read or written."""
