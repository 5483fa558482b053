"""What went wrong in a job, as text: exceptions are told, never pickled.

The user's exception may be of a class nobody else has, may hold what cannot be pickled, and its
`__str__` may fail: text always arrives. Frames of batchpilot and of the import machinery are cut
off; what is left is the user's code.
"""

from __future__ import annotations

from pathlib import Path
from traceback import TracebackException
from typing import NamedTuple

import msgpack


MESSAGE_LIMIT = 10_000
TRACEBACK_LIMIT = 32_000
"""Characters; a traceback also has to fit into one packet of the template's socket."""

_OURS = (str(Path(__file__).parent), "<frozen importlib")


class Failure(NamedTuple):
    """Hold an exception's class, message and traceback as text."""

    type: str
    message: str
    traceback: str

    def to_body(self) -> bytes:
        """Return the body of an error's record."""
        body: bytes = msgpack.packb(list(self))
        return body


def describe(error: BaseException) -> Failure:
    """Return an exception as text, however broken it is."""
    return Failure(
        _type_name(type(error)),
        _clean(message_of(error), MESSAGE_LIMIT),
        _clean(_traceback(error), TRACEBACK_LIMIT),
    )


def message_of(error: BaseException) -> str:
    """Return what an exception says, or that it cannot say it."""
    try:
        return str(error)
    except BaseException as broken:  # noqa: BLE001 - the user's __str__ may raise anything
        return f"<its message cannot be shown: {type(broken).__name__}>"


def _type_name(kind: type[BaseException]) -> str:
    plain = kind.__module__ in ("builtins", "__main__")
    return kind.__qualname__ if plain else f"{kind.__module__}.{kind.__qualname__}"


def _traceback(error: BaseException) -> str:
    try:
        told = TracebackException.from_exception(error)
        _cut(told)
        return "".join(told.format())
    except BaseException as broken:  # noqa: BLE001 - the user's exception may raise anything
        return f"<its traceback cannot be shown: {type(broken).__name__}>\n"


def _cut(told: TracebackException) -> None:
    """Leave only the user's frames, in causes and groups as well."""
    waiting: list[TracebackException | None] = [told]
    while waiting:
        one = waiting.pop()
        if one is not None:
            one.stack[:] = [frame for frame in one.stack if not frame.filename.startswith(_OURS)]
            waiting += (one.__cause__, one.__context__, *(one.exceptions or ()))


def _clean(text: str, limit: int) -> str:
    """Return text that can be written down: within the limit, without lone surrogates."""
    if len(text) > limit:
        half = limit // 2
        text = f"{text[:half]}\n[… {len(text) - limit} characters left out …]\n{text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode()
