"""Instances of problems with `cache=True`: made by the first job, read by all others.

An instance is one file, `cache/problems/<problem>/<key>`: 32 bytes of seal, then its pickle. The
key is a hash over all that the instance is made of - problem function, data, seed, parameters,
replication, and the code that can be imported - so what is redefined never finds an old one. The
file is written aside and renamed; where several jobs make it at once, the last stays, and they are
equal. Nothing is unpickled before its seal matches.

A cache only saves time. A file that is damaged, forged or of a copied registry is made anew; a
disk that is full, or an instance that cannot be pickled, costs the caching. Each is said in the
job's log. The job that made an instance goes on with what it has written, read back: all jobs see
the same, down to which arrays can be written to.
"""

from __future__ import annotations

import hmac
import pickle
import sys
from collections.abc import Callable, Mapping
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import cloudpickle

from batchpilot_agent.failures import message_of
from batchpilot_broker.access import read_secret
from batchpilot_broker.codec import MAC_SIZE, Seal
from batchpilot_broker.errors import StorageError
from batchpilot_broker.files import read_json, write_aside
from batchpilot_broker.paths import RegistryPaths


_PROTOCOL = 5


class InstanceCache:
    """Keep instances in a registry's `cache/`.

    Args:
        paths: The registry's files.
    """

    def __init__(self, paths: RegistryPaths) -> None:
        self._paths = paths

    def get(self, problem: str, key: str, make: Callable[[], Any]) -> Any:
        """Return an instance: as it was kept, else as it is made and kept now."""
        path = self._paths.instances(problem) / key
        if path.exists():
            try:
                return self._read(path)
            except Exception as error:  # noqa: BLE001 - a user's pickle may raise anything
                _say(f"the kept instance {path} is made anew: {message_of(error)}")
        instance = make()
        try:
            data: bytes = cloudpickle.dumps(instance, protocol=_PROTOCOL)
        except Exception as error:  # noqa: BLE001 - as above
            _say(f"an instance of {problem!r} cannot be kept: {message_of(error)}")
            return instance
        self._write(path, data)
        return pickle.loads(data)  # noqa: S301 - pickled above

    def _read(self, path: Path) -> Any:
        """Return the instance in a file.

        Raises:
            StorageError: It does not carry the registry's seal.
        """
        sealed = path.read_bytes()
        data = memoryview(sealed)[MAC_SIZE:]
        if not hmac.compare_digest(sealed[:MAC_SIZE], self._mac(path, data)):
            raise StorageError("it is damaged, or does not carry this registry's seal")
        return pickle.loads(data)  # noqa: S301 - it carries our seal

    def _write(self, path: Path, data: bytes) -> None:
        try:
            for directory in (self._paths.cache, path.parent.parent, path.parent):
                directory.mkdir(mode=0o700, exist_ok=True)
            write_aside(path, self._mac(path, data) + data)
        except (OSError, StorageError) as error:
            _say(f"an instance is not kept: {message_of(error)}")

    def _mac(self, path: Path, data: bytes | memoryview) -> bytes:
        """Return the seal of a file, bound to its name: none can stand for another."""
        return self._seal.mac(f"instance {path.parent.name}/{path.name}", data)

    @cached_property
    def _seal(self) -> Seal:
        owner = read_json(self._paths.owner) or {}
        return Seal(read_secret(self._paths), str(owner.get("instance", "")))


def instance_key(problem: bytes, repl: int, pars: Mapping[str, Any]) -> str:
    """Return the name of an instance's file.

    Args:
        problem: What stands for the problem, its data and its code.
        repl: The replication.
        pars: The parameters of the problem function.
    """
    digest = blake2b(problem, digest_size=MAC_SIZE)
    digest.update(b"%d\0" % repl)
    digest.update(cloudpickle.dumps(pars, protocol=_PROTOCOL))
    return digest.hexdigest()


def _say(text: str) -> None:
    print(f"batchpilot: {text}", file=sys.stderr)  # noqa: T201 - into the job's log
