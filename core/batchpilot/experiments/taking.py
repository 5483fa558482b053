"""What the function of a problem or algorithm takes, kept with it: designs are checked by it.

It is noted when the function is defined, so that later sessions can check designs without
loading the function.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any, Self

import msgpack

from batchpilot.errors import DefinitionError
from batchpilot.functions import describe_function

from .designs import Design


PROBLEM_OWN = ("job", "data")
ALGORITHM_OWN = ("job", "data", "instance")
"""Names of what is passed to functions beside the parameters; no parameter can have them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taking:
    """Hold what a function takes of a design.

    Attributes:
        function: What the function is called; "" where there is none.
        names: Parameters that a design can give.
        required: Those of them that it must give.
        any_name: Whether it can give others.
        own: Names that mean something else.
    """

    function: str = ""
    names: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    any_name: bool = True
    own: tuple[str, ...]

    @classmethod
    def of(cls, fun: Any, own: tuple[str, ...]) -> Self:
        """Return what a function takes; without one, a design may say anything.

        Raises:
            DefinitionError: It is no function, or a parameter of it cannot go by name.
        """
        if fun is None:
            return cls(own=own)
        if not callable(fun):
            raise DefinitionError(
                f"{fun!r:.40} is no function", remedy="give a function as fun, or None"
            )
        shape = describe_function(fun)
        nameless = [name for name in shape.positional if name in shape.required]
        if nameless:
            raise DefinitionError(
                f"{shape.name}() takes {', '.join(nameless)} by position only",
                remedy="wrap it in a function whose parameters have names: they go by name",
            )
        return cls(
            function=shape.name,
            names=_without(shape.names, (*own, *shape.positional)),
            required=_without(shape.required, own),
            any_name=shape.any_name,
            own=own,
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return what was kept."""
        wire = msgpack.unpackb(data)
        lists = {name: tuple(wire[name]) for name in ("names", "required", "own")}
        return cls(function=wire["function"], any_name=wire["any_name"], **lists)

    def to_bytes(self) -> bytes:
        """Return the bytes that the registry keeps."""
        data: bytes = msgpack.packb(asdict(self))
        return data

    def check(self, design: Design) -> None:
        """Refuse a design that the function could not be called with.

        Raises:
            DefinitionError: A name is reserved or unknown, or a parameter is lacking.
        """
        for names in dict.fromkeys(map(tuple, design.rows)):
            self._check(names, design.name)

    def _check(self, names: Collection[str], owner: str) -> None:
        reserved = [name for name in names if name in self.own]
        if reserved:
            raise DefinitionError(
                f"a parameter of {owner!r} cannot be called {reserved[0]!r}",
                remedy=f"rename it: {', '.join(self.own)} are passed to functions that name them",
            )
        unknown = [name for name in names if not self.any_name and name not in self.names]
        if unknown:
            raise DefinitionError(
                f"{self.function}() of {owner!r} has no parameter {', '.join(map(repr, unknown))}",
                remedy=f"its parameters are {', '.join(self.names) or '(none)'}",
            )
        missing = [name for name in self.required if name not in names]
        if missing:
            raise DefinitionError(
                f"{self.function}() of {owner!r} needs {', '.join(map(repr, missing))}",
                remedy=f"give {missing[0]} as a column of its design",
            )


def _without(names: Collection[str], left_out: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name not in left_out)
