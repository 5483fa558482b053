"""Look again and again at what the machine tells of every process, for words that must not be."""

from __future__ import annotations

import os
import threading
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self


class Watcher(threading.Thread):
    """Search the arguments and the environment of all processes until it is closed.

    Args:
        words: The bytes searched for, by their names.

    Attributes:
        seen: Processes that were looked at: (pid, name).
        found: (name of the word, file, what the process was called with).
    """

    def __init__(self, words: Mapping[str, bytes]) -> None:
        super().__init__(daemon=True)
        self.words = words
        self.seen: set[tuple[int, str]] = set()
        self.found: set[tuple[str, str, bytes]] = set()
        self._enough = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._enough.set()
        self.join()

    def run(self) -> None:
        """Look until it is enough."""
        while not self._enough.wait(0.02):
            for pid in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - it is asked often
                if int(pid) != os.getpid():
                    self._look(Path("/proc", pid))

    def _look(self, process: Path) -> None:
        try:
            called, environment = (process / "cmdline").read_bytes(), b""
            environment = (process / "environ").read_bytes()
            name = (process / "comm").read_text().strip()
        except OSError:  # gone meanwhile
            return
        self.seen.add((int(process.name), f"{name} {called.decode(errors='replace')}"))
        for where, text in (("cmdline", called), ("environ", environment)):
            self.found.update((word, where, called) for word in found_in(text, self.words))


def found_in(text: bytes, words: Mapping[str, bytes]) -> Iterator[str]:
    """Yield the names of the words that stand in some bytes: raw, in hex or in base64."""
    for name, word in words.items():
        if any(form in text for form in forms(word)):
            yield name


def forms(word: bytes) -> Iterator[bytes]:
    """Yield how a secret may be written down: 24 bytes in a row give it away."""
    yield from (word, word.hex().encode(), repr(word)[2:-1].encode())
    yield from (b64encode(word)[:32], urlsafe_b64encode(word)[:32])
