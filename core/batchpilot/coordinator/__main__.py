"""`python -m batchpilot.coordinator DIR`: hold office until there is nothing to do.

Exit codes: 0 there was nothing left to do, or it was told to stop; 3 no registry; 69 the broker
cannot be used; 75 another coordinator is in office; 1 anything else, and the supervisor starts
another one.
"""

from __future__ import annotations

import gc


gc.disable()  # until all is imported: there is no garbage, and to look for it takes long

import argparse
import logging
import os
import signal
import sys
from pathlib import Path

from batchpilot import control
from batchpilot.errors import AlreadyOwned, BatchpilotError, OwnershipLost, TermSuperseded
from batchpilot.monitoring import add_options, registry_id
from batchpilot.seat import read_sitter
from batchpilot_agent.prctl import die_with_parent
from batchpilot_broker.journal import start_log
from batchpilot_broker.paths import RegistryPaths

from .loop import LINGER, Coordinator


EXIT_SUPERSEDED = 75


def main() -> int:
    """Run a coordinator and return its exit code."""
    gc.freeze()
    gc.enable()
    parser = argparse.ArgumentParser(prog="python -m batchpilot.coordinator")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--linger", type=float, default=LINGER)
    parser.add_argument("--seat", default="", help="allocation of a batch system it runs in")
    add_options(parser)
    options = parser.parse_args()
    paths = RegistryPaths(options.directory)
    start_log(options.log_format, "%(asctime)s %(name)s %(message)s", registry=registry_id(paths))
    try:
        parent = _parent(paths, options.seat)
        coordinator = Coordinator(
            paths, linger=options.linger, given=vars(options), seat=options.seat
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: coordinator.stop())
        if options.seat:  # an allocation ends with its supervisor, but not all that runs there
            die_with_parent(parent, signal.SIGTERM)
        coordinator.run()
        orphaned = os.getppid() != parent and not control.is_supervised(paths)
        if orphaned and (options.seat or coordinator.relieved):
            control.stop_broker(paths)  # there is no supervisor to do it
    except (AlreadyOwned, OwnershipLost, TermSuperseded) as error:
        logging.getLogger("batchpilot.coordinator").warning("%s", error)
        return EXIT_SUPERSEDED
    except BatchpilotError as error:
        logging.getLogger("batchpilot.coordinator").error("%s", error)  # noqa: TRY400 - the message is for people, a traceback is not
        return error.exit_code
    return 0


def _parent(paths: RegistryPaths, seat: str) -> int:
    """Return the supervisor that has started this coordinator; it may have ended since."""
    sitter = read_sitter(paths, seat) if seat else None
    return os.getppid() if sitter is None else sitter.pid


if __name__ == "__main__":
    sys.exit(main())
