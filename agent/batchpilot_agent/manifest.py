"""The manifest of an epoch: which objects and files the code of a submission is made of."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self

import msgpack

from .errors import EpochError


MANIFEST_VERSION = 1


def python_minor() -> str:
    """Return the version of this Python that pickles and code depend on, such as "3.11"."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


class StoredModule(NamedTuple):
    """Hold where a module's code is.

    Attributes:
        name: Its full name.
        is_package: Whether it can have submodules.
        origin: Its file in the session; of a namespace package its directories, joined as a PATH.
        source: Hash of its source; None where it has none (extension, namespace package).
    """

    name: str
    is_package: bool
    origin: str
    source: str | None


class StoredSource(NamedTuple):
    """Hold a file that is run before the jobs.

    Attributes:
        path: Where it was.
        source: Hash of its bytes; None where it could not be read.
    """

    path: str
    source: str | None


class StoredExport(NamedTuple):
    """Hold an object that functions find under a name.

    Attributes:
        name: The name.
        value: Hash of its pickle.
    """

    name: str
    value: str


class StoredData(NamedTuple):
    """Hold a value whose large buffers lie beside its pickle.

    Attributes:
        stream: Hash of its pickle, protocol 5.
        buffers: Hashes of the buffers that are not in the pickle, in its order.
    """

    stream: str
    buffers: tuple[str, ...] = ()

    @classmethod
    def from_wire(cls, wire: Sequence[Any]) -> Self:
        """Return the data that a list describes."""
        stream, buffers = wire
        return cls(stream, tuple(buffers))


class StoredProblem(NamedTuple):
    """Hold what instances are made of.

    Attributes:
        name: Its name.
        function: Hash of the pickled function; None: the data is the instance.
        data: Its static data; None where there is none.
        seed: Seed of the instance of the first replication; None: that of the job.
        cache: Whether instances are kept for the jobs after the first; only with a seed.
    """

    name: str
    function: str | None
    data: StoredData | None
    seed: int | None
    cache: bool

    @classmethod
    def from_wire(cls, wire: Sequence[Any]) -> Self:
        """Return the problem that a list describes."""
        name, function, data, seed, cache = wire
        stored = None if data is None else StoredData.from_wire(data)
        return cls(name, function, stored, seed, cache)


class StoredAlgorithm(NamedTuple):
    """Hold what is applied to instances.

    Attributes:
        name: Its name.
        function: Hash of the pickled function; None: the instance is the result.
    """

    name: str
    function: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """Hold what is there before a function of a registry is called.

    Attributes:
        packages: Modules to import.
        sources: Files to run, in this order.
        exports: Objects by name.
    """

    packages: tuple[str, ...] = ()
    sources: tuple[StoredSource, ...] = ()
    exports: tuple[StoredExport, ...] = ()

    def to_wire(self) -> dict[str, Any]:
        """Return the fields that hold something."""
        return {name: value for name, value in asdict(self).items() if value}

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Self:
        """Return the dependencies that a map describes."""
        return cls(
            packages=tuple(wire.get("packages", ())),
            sources=tuple(StoredSource(*source) for source in wire.get("sources", ())),
            exports=tuple(StoredExport(*export) for export in wire.get("exports", ())),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Hold the code of a submission.

    Attributes:
        function: Hash of the pickled function, "" in experiments. names: Names of the parameters,
        in the order of each job's tuple of values. positional: Those of them that go by position,
        in that order. passes_job: Whether the function has a parameter `job`. more_args: Hash of
        the pickled (positional, by name) arguments that are the same for all jobs, or None.
        modules: All loaded modules outside the standard library and site-packages. path: Entries
        of sys.path outside of them. work_dir: Where jobs begin. python: Python's minor version.
        hash_seed: PYTHONHASHSEED of the jobs. dependencies: What is there before the function is
        loaded. problems, algorithms: What experiments are made of; a map has none.
    """

    function: str = ""
    names: tuple[str, ...]
    positional: tuple[str, ...] = ()
    passes_job: bool = False
    more_args: str | None = None
    modules: tuple[StoredModule, ...] = ()
    path: tuple[str, ...] = ()
    work_dir: str
    python: str
    hash_seed: int = 0
    dependencies: Dependencies = Dependencies()
    problems: tuple[StoredProblem, ...] = ()
    algorithms: tuple[StoredAlgorithm, ...] = ()

    def to_bytes(self) -> bytes:
        """Return the object's bytes; equal manifests have equal bytes."""
        wire = asdict(self)
        del wire["dependencies"]
        for name in ("problems", "algorithms"):
            if not wire[name]:
                del wire[name]  # so that the epoch of a map is what it was before experiments
        data: bytes = msgpack.packb({"v": MANIFEST_VERSION, **wire, **self.dependencies.to_wire()})
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Return the manifest in an object's bytes; unknown fields are dropped.

        Raises:
            EpochError: It is no manifest, or one of another version.
        """
        try:
            wire: dict[str, Any] = msgpack.unpackb(data)
            version = wire.pop("v")
        except (ValueError, TypeError, KeyError, AttributeError, msgpack.UnpackException) as error:
            raise EpochError(
                "the manifest of an epoch cannot be read", remedy="submit the jobs again"
            ) from error
        if version != MANIFEST_VERSION:
            raise EpochError(
                f"the manifest of an epoch has version {version}, not {MANIFEST_VERSION}",
                remedy="use the same batchpilot on all hosts",
            )
        known = {name: wire[name] for name in cls.__dataclass_fields__ if name in wire}
        known["modules"] = tuple(StoredModule(*module) for module in known["modules"])
        for name in ("names", "positional", "path"):
            known[name] = tuple(known[name])
        known["problems"] = tuple(map(StoredProblem.from_wire, wire.get("problems", ())))
        known["algorithms"] = tuple(StoredAlgorithm(*one) for one in wire.get("algorithms", ()))
        known["dependencies"] = Dependencies.from_wire(wire)
        return cls(**known)
