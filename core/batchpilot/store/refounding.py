"""Write `owner.json` anew where it is lost or damaged, from what the other files say.

The registry keeps its id and its secret. It becomes another instance: the directory may be a copy,
and nothing that was said to or by the instance of before must reach it.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from batchpilot.errors import AlreadyOwned, RegistryMissing, StorageError
from batchpilot_broker.access import key_mark, read_secret
from batchpilot_broker.host import boot_id, host_name, is_alive
from batchpilot_broker.paths import RegistryPaths

from .database import number_of
from .owner import Owner, seated, write_owner
from .statements import sql


def refound(paths: RegistryPaths) -> Owner:
    """Write `owner.json` anew and return what it says.

    Raises:
        RegistryMissing: There is no database either.
        AlreadyOwned: A coordinator is in office; it writes the record anew itself.
    """
    databases = sorted(paths.root.glob("registry-*.db"), key=lambda path: number_of(path.name))
    copies = sorted(paths.backup.glob("registry-*.db"))
    if not databases and not copies:
        raise RegistryMissing(f"no registry in {paths.root}", remedy="check the directory's name")
    facts = next(_facts([*reversed(databases), *reversed(copies)]), {})
    if facts.get("owner_boot") == boot_id() and is_alive(facts["owner_pid"], facts["owner_start"]):
        raise AlreadyOwned(
            f"the coordinator of {paths.root} is running as process {facts['owner_pid']}",
            remedy="wait 5 s: it writes the record anew; or stop it",
        )
    latest = databases[-1].name if databases else paths.database(1).name
    owner = Owner(
        id=str(facts.get("id") or secrets.token_hex(8)),
        instance=secrets.token_hex(6),
        host=host_name(),
        term=max(number_of(latest), int(facts.get("term", 1)), _last_term(paths)),
        database=latest,
    )
    with suppress(StorageError):
        owner = owner.with_key(key_mark(read_secret(paths)))
    paths.broker.unlink(missing_ok=True)
    owner = seated(paths, owner)
    write_owner(paths, owner)
    return owner


def _facts(candidates: list[Path]) -> Iterator[dict[str, Any]]:
    """Yield what each database that can be read says of the registry."""
    names = ("id", "term", "owner_pid", "owner_start", "owner_boot")
    for path in candidates:
        with (
            suppress(sqlite3.DatabaseError, UnicodeDecodeError),
            closing(sqlite3.connect(path)) as connection,
        ):
            rows = [connection.execute(sql("get_meta"), (name,)).fetchone() for name in names]
            facts = dict(zip(names, (row[0] if row else None for row in rows), strict=True))
            if isinstance(facts["term"], int):
                yield facts


def _last_term(paths: RegistryPaths) -> int:
    """Return the term of the last coordinator that has left a segment."""
    names = (path.stem.rpartition("-")[2] for path in paths.segments.glob("coordinator-*.results"))
    return max((int(name) for name in names if name.isdigit()), default=1)
