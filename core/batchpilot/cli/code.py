"""What `jobs --code` shows: the function of a job, and the modules that were stored with it."""

from __future__ import annotations

from typing import Any

import click

from batchpilot.errors import CodeMissing
from batchpilot.registry.whole import Registry
from batchpilot.sources import Code, Function, Module

from .output import print_document


def show_code(registry: Registry, job: int, module: str | None, *, as_json: bool) -> None:
    """Show the code that a job was submitted with.

    Args:
        registry: Its registry.
        job: The job.
        module: The module to show; by default the function, and which modules there are.
        as_json: Write a document.

    Raises:
        CodeMissing: The job is not submitted, or its code has no such module.
    """
    code = registry.read_code(job)
    chosen = code.modules if module is None else (_named(code, job, module),)
    if as_json:
        print_document(**_fields(job, code, chosen))
    elif module is None:
        _show_function(job, code)
    else:
        _show_module(job, chosen[0])


def _named(code: Code, job: int, name: str) -> Module:
    for module in code.modules:
        if module.name == name:
            return module
    names = ", ".join(module.name for module in code.modules) or "none"
    raise CodeMissing(
        f"the code of job {job} has no module {name}", remedy=f"its modules are: {names}"
    )


def _show_module(job: int, module: Module) -> None:
    if module.source is None:
        raise CodeMissing(
            f"module {module.name} of job {job} has no source",
            remedy=f"it is a package without a file, or compiled: {module.origin}",
        )
    click.echo(module.source, nl=not module.source.endswith("\n"))


def _show_function(job: int, code: Code) -> None:
    click.echo(f"# Job {job}, Python {code.python}, epoch {code.epoch}")
    if code.problem is not None:
        _show_source("Problem", code.problem)
    _show_source("Function", code.function)
    click.echo(f"# Modules stored with it: {len(code.modules)}")
    for module in code.modules:
        kept = "" if module.source is not None else " (no source)"
        click.echo(f"#   {module.name}  {module.origin}{kept}")


def _show_source(what: str, function: Function | None) -> None:
    click.echo(f"# {what}{_heading(function)}")
    if function is not None and function.source is not None:
        click.echo(function.source, nl=not function.source.endswith("\n"))


def _heading(function: Function | None) -> str:
    if function is None:
        return ": there is none, or its pickle does not tell where it was defined"
    if function.source is not None:
        return f" {function.name}, {function.origin}:{function.line}"
    if function.module:
        where = function.origin or "an installed library"
        return f" {function.name} of module {function.module}, in {where}"
    return f" {function.name}, defined in {function.origin}, whose source is not kept"


def _fields(job: int, code: Code, modules: tuple[Module, ...]) -> dict[str, Any]:
    return {
        "job_id": job,
        "epoch": code.epoch,
        "python": code.python,
        "function": _described(code.function),
        "problem": _described(code.problem),
        "modules": [
            {"name": module.name, "origin": module.origin, "source": module.source}
            for module in modules
        ],
    }


def _described(function: Function | None) -> dict[str, Any] | None:
    if function is None:
        return None
    return {
        "name": function.name,
        "module": function.module or None,
        "origin": function.origin or None,
        "line": function.line or None,
        "source": function.source,
    }
