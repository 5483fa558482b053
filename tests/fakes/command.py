#!/usr/bin/env python3
"""Be the command by whose name this was started: `pbs/qsub` is `qsub` of the module `pbs`."""

import importlib
import sys
from pathlib import Path


if __name__ == "__main__":
    started = Path(sys.argv[0]).absolute()  # not resolved: the link has the name
    sys.path[0] = str(started.parents[3])
    module = importlib.import_module(f"tests.fakes.speaks_{started.parent.name}")
    sys.exit(getattr(module, started.name)(sys.argv[1:]))
