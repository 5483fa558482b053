"""`results`: parameters and results of the jobs that are done, side by side."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from batchpilot.errors import StorageError
from batchpilot.ids import JobIds
from batchpilot.registry.whole import Registry

from .lazy import Command
from .output import plain, print_document, print_table, to_json
from .words import Target, json_option, target_argument


LIMIT = 50


@click.command(cls=Command)
@target_argument()
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="A .csv, .json or .pickle file."
)
@json_option
def results(target: Target, output: Path | None, as_json: bool) -> None:
    """Show or save parameters and results of the jobs that are done."""
    write = _writer(output) if output else None
    with target.open() as registry:
        chosen = target.jobs(registry)
        ids = registry.find_done() if chosen is None else registry.find_done(chosen)
        if write and output:
            _save(output, write(registry, ids))
            click.echo(f"{len(ids)} results in {output}", err=True)
        if as_json:
            print_document(results=_records(registry, ids))
        elif not output:
            _show(registry, ids)


def _show(registry: Registry, ids: JobIds) -> None:
    if not ids:
        click.echo("No job is done yet.", err=True)
        return
    frame = registry.results_frame(ids[:LIMIT])
    rows = [[_cell(value) for value in row] for row in frame.itertuples(index=False)]
    print_table(list(map(str, frame.columns)), rows, right=("job_id",))
    if len(ids) > LIMIT:
        click.echo(f"The first {LIMIT} of {len(ids)}; all of them: -o FILE.csv", err=True)


def _cell(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _records(registry: Registry, ids: JobIds) -> list[dict[str, Any]]:
    frame = registry.results_frame(ids, unwrap=False)
    return [plain(record) for record in frame.to_dict("records")]


def _as_csv(registry: Registry, ids: JobIds) -> bytes:
    return registry.results_frame(ids).to_csv(index=False).encode()


def _as_json(registry: Registry, ids: JobIds) -> bytes:
    return to_json({"results": _records(registry, ids)}).encode() + b"\n"


def _as_pickle(registry: Registry, ids: JobIds) -> bytes:
    return pickle.dumps(registry.results_frame(ids), protocol=pickle.HIGHEST_PROTOCOL)


Writer = Callable[[Registry, JobIds], bytes]
_WRITERS: dict[str, Writer] = {
    ".csv": _as_csv,
    ".json": _as_json,
    ".pickle": _as_pickle,
    ".pkl": _as_pickle,
}


def _writer(output: Path) -> Writer:
    if output.suffix not in _WRITERS:
        raise click.UsageError(
            f"{output.name!r} does not tell the format; let it end in {', '.join(_WRITERS)}."
        )
    return _WRITERS[output.suffix]


def _save(output: Path, data: bytes) -> None:
    try:
        output.write_bytes(data)
    except OSError as error:
        raise StorageError(
            f"cannot write {output}: {error.strerror}", remedy="check directory, rights and space"
        ) from error
