"""Stand in for an agent: say what it was given, wait for the gate to open, end with a code.

standin.py GATE CODES --element N: CODES has the exit code of each element, by commas.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType


def say(**what: object) -> None:
    sys.stdout.write(f"{json.dumps(what)}\n")
    sys.stdout.flush()


def told(number: int, _frame: FrameType | None) -> None:
    say(told=signal.Signals(number).name)
    os._exit(0)


def main() -> int:
    gate, codes, element = Path(sys.argv[1]), sys.argv[2].split(","), int(sys.argv[-1])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, told)
    say(argv=sys.argv[3:], env=dict(os.environ), cwd=str(Path.cwd()), uid=os.getuid())
    code = int(codes[element - 1]) if element <= len(codes) else 0
    while not code and not gate.exists():
        time.sleep(0.02)
    return code


if __name__ == "__main__":
    sys.exit(main())
