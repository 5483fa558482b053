"""The Lua scripts of `lua/`, called by name.

A script is one step nobody else can come between; that is what makes a claim a lease and a term a
fence. They are plain EVALSHA (no FUNCTION, which Redis 6.2 lacks), and are sent whole only to a
server that does not know them yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from hashlib import sha1
from pathlib import Path
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from redis import Redis

_FOLDER = Path(__file__).parent / "lua"

Word = str | bytes | int | float


class Script:
    """Run one script.

    Args:
        name: Name of its file in `lua/`, without suffix.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = "\n".join((_read("prelude"), _read(name)))
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, client: Redis, keys: Sequence[str], words: Sequence[Word]) -> Any:
        """Return the script's answer."""
        try:
            return self._run(client, "EVALSHA", self.sha, keys, words)
        except _unknown():
            return self._run(client, "EVAL", self.text, keys, words)

    @staticmethod
    def _run(
        client: Redis, verb: str, what: str, keys: Sequence[str], words: Sequence[Word]
    ) -> Any:
        return client.execute_command(verb, what, len(keys), *keys, *words)  # type: ignore[no-untyped-call]  # so in redis


@cache
def script(name: str) -> Script:
    """Return a script by the name of its file."""
    return Script(name)


def _read(name: str) -> str:
    return (_FOLDER / f"{name}.lua").read_text(encoding="utf-8")


def _unknown() -> type[Exception]:
    """Return what tells of an unknown script; evaluated only once something was raised."""
    from redis.exceptions import NoScriptError  # noqa: PLC0415 - redis is slow to import

    return NoScriptError
