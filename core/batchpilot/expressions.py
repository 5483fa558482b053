"""Predicates over parameters: the strings and functions that `find_jobs` takes.

A string is a Python expression of the user's, evaluated in the user's own process, with two
changes:

* `&`, `|` and `~` between comparisons mean and, or, not, as in `pandas.query`; so
  `"i == 2 & j == 8"` reads as in a lecture. (For bits, give a function.)
* NaN, None and their like are *unknown*: what is compared or computed with them is unknown too,
  `unknown & False` is False, `unknown | True` is True, and an unknown verdict is no match.
  `x is None` is a test as ever.

Names are parameters first, then the caller's variables, then builtins. An expression is compiled
once and run over whole pages of jobs; only rows that hold an unknown in a name it uses go the
slow way (`unknowns`).
"""

from __future__ import annotations

import ast
import builtins
import difflib
import inspect
import io
import keyword
import symtable
import tokenize
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from batchpilot.errors import DefinitionError, UnknownName
from batchpilot.store.pages import Ids
from batchpilot.unknowns import is_unknown, kleene, without_unknowns


Rows = Sequence[tuple[Any, ...]]

_WORDS = {"&": " and ", "|": " or ", "~": " not "}
_BEFORE_NOT = frozenset((*"([{,:=&|~", "and", "or", "not", "if", "else", ":="))
_NO_CODE = frozenset((tokenize.NL, tokenize.NEWLINE, tokenize.COMMENT))
_BOOLS = frozenset((bool, np.bool_))
_ROWS = "_batchpilot_rows"


class Predicate(ABC):
    """Say for rows of parameters whether they match.

    Args:
        names: Names of the values of a row.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)

    def select(self, rows: Rows, ids: Ids) -> Ids:
        """Return the ids of the rows that match.

        Raises:
            DefinitionError: It fails for a job, or says neither yes nor no; the job is named.
        """
        verdicts = self._verdicts(rows, ids)
        if not _BOOLS.issuperset(map(type, verdicts)):
            verdicts = [_checked(v, job) for v, job in zip(verdicts, ids.tolist(), strict=True)]
        matching: Ids = ids[np.array(verdicts, bool)]
        return matching

    @abstractmethod
    def _verdicts(self, rows: Rows, ids: Ids) -> list[Any]:
        """Return for each row whether it matches, or that it is unknown."""


def predicate(
    expr: object, names: Sequence[str], variables: Mapping[str, Any] | None = None
) -> Predicate:
    """Return the predicate that a string or a function is.

    Args:
        expr: The expression, or a function of some of the parameters (by name) or of `**kwargs`.
        names: The parameters.
        variables: The caller's variables.

    Raises:
        UnknownName: It uses a name that nothing known has.
        DefinitionError: It is no expression, or no function of the parameters.
    """
    if isinstance(expr, str):
        return _Expression(expr, names, variables or {})
    if callable(expr):
        return _Function(expr, names)
    raise DefinitionError(
        f"{expr!r:.60} is no predicate",
        remedy='give a string like "i == 2 & j == 8", or a function of the parameters',
    )


class _Expression(Predicate):
    def __init__(self, text: str, names: Sequence[str], variables: Mapping[str, Any]) -> None:
        super().__init__(names)
        self.text = text
        self._tree = _parse(text)
        used = _free_names(self._tree)
        self._used = [at for at, name in enumerate(self.names) if name in used]
        self._globals = {
            name: _look_up(name, self.names, variables) for name in used - set(self.names)
        }
        targets = "".join(f"{target}, " for target in self._targets)
        self._run = self._compile(
            f"lambda {_ROWS}: [({ast.unparse(self._tree)}) for ({targets}) in {_ROWS}]"
        )

    @cached_property
    def _targets(self) -> list[str]:
        """Names to unpack a row into; a parameter that is no identifier gets a stand-in."""
        return [
            name if name.isidentifier() and not keyword.iskeyword(name) else f"_batchpilot_{at}"
            for at, name in enumerate(self.names)
        ]

    @cached_property
    def _slowly(self) -> Callable[[tuple[Any, ...]], Any]:
        arguments = ", ".join(self._targets)
        return kleene(
            self._tree.body,
            lambda node: self._compile(f"lambda {arguments}: ({ast.unparse(node)})"),
        )

    def _verdicts(self, rows: Rows, ids: Ids) -> list[Any]:
        columns = [[row[at] for row in rows] for at in self._used]
        if all(map(without_unknowns, columns)):
            try:
                return list(self._run(rows))
            except Exception:  # noqa: BLE001 - a user's expression; the loop below names the job
                return self._one_by_one(rows, ids)
        return self._one_by_one(rows, ids)

    def _one_by_one(self, rows: Rows, ids: Ids) -> list[Any]:
        verdicts = []
        for row, job in zip(rows, ids.tolist(), strict=True):
            unknown = any(is_unknown(row[at]) for at in self._used)
            try:
                verdicts.append(self._slowly(row) if unknown else self._run((row,))[0])
            except Exception as error:
                raise _fails(self.text, job, error) from error
        return verdicts

    def _compile(self, source: str) -> Callable[..., Any]:
        code = compile(source, "<expression>", "eval")
        function: Callable[..., Any] = eval(code, dict(self._globals))  # noqa: S307 - the user's own expression in the user's own process
        return function


class _Function(Predicate):
    def __init__(self, function: Callable[..., Any], names: Sequence[str]) -> None:
        super().__init__(names)
        self._function = function
        taken = _parameters_taken(function, self.names)
        self._places = [(name, at) for at, name in enumerate(self.names) if name in taken]

    def _verdicts(self, rows: Rows, ids: Ids) -> list[Any]:
        verdicts = []
        for row, job in zip(rows, ids.tolist(), strict=True):
            try:
                verdicts.append(self._function(**{name: row[at] for name, at in self._places}))
            except Exception as error:
                raise _fails(_name_of(self._function), job, error) from error
        return verdicts


def _parse(text: str) -> ast.Expression:
    if not text.strip():
        raise DefinitionError("an empty string is no expression", remedy="use None to find all")
    try:
        return ast.parse(_with_words(f"(\n{text}\n)"), mode="eval")
    except (SyntaxError, tokenize.TokenError, ValueError) as error:
        raise DefinitionError(
            f"{text!r} is no expression: {getattr(error, 'msg', error)}",
            remedy='write it like "i == 2 & j == 8"',
        ) from error


def _with_words(text: str) -> str:
    """Return the text with and, or, not where operators for bits stand between comparisons."""
    lines = text.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    pieces, done = [], 0
    for token, before in _tokens_with_previous(text):
        if token.string in _WORDS and (token.string != "~" or before in _BEFORE_NOT):
            at = starts[token.start[0] - 1] + token.start[1]
            pieces += [text[done:at], _WORDS[token.string]]
            done = at + 1
    return "".join([*pieces, text[done:]])


def _tokens_with_previous(text: str) -> Iterator[tuple[tokenize.TokenInfo, str]]:
    before = ""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.OP:
            yield token, before
        if token.type not in _NO_CODE:
            before = token.string


def _free_names(tree: ast.Expression) -> set[str]:
    """Return the names that an expression takes from outside."""

    def collect(table: symtable.SymbolTable, *, top: bool) -> Iterator[str]:
        for symbol in table.get_symbols():
            if symbol.is_global() or (top and symbol.is_referenced() and not symbol.is_assigned()):
                yield symbol.get_name()
        for child in table.get_children():
            yield from collect(child, top=False)

    table = symtable.symtable(ast.unparse(tree), "<expression>", "eval")
    return set(collect(table, top=True))


def _look_up(name: str, parameters: Sequence[str], variables: Mapping[str, Any]) -> Any:
    if name in variables:
        return variables[name]
    if hasattr(builtins, name):
        return getattr(builtins, name)
    near = difflib.get_close_matches(name, [*parameters, *variables], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise UnknownName(
        f"{name!r} is neither a parameter nor a variable{hint}",
        remedy=f"the parameters are {', '.join(parameters) or '(none)'}",
    )


def _parameters_taken(function: Callable[..., Any], names: Sequence[str]) -> set[str]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise DefinitionError(
            f"{_name_of(function)} does not tell its parameters", remedy="wrap it in a lambda"
        ) from error
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return set(names)
    for p in parameters:
        required = p.default is p.empty and p.kind is not p.VAR_POSITIONAL
        if required and (p.name not in names or p.kind is p.POSITIONAL_ONLY):
            raise UnknownName(
                f"{_name_of(function)} asks for {p.name!r}, which is no parameter given by name",
                remedy=f"the parameters are {', '.join(names) or '(none)'}",
            )
    return {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def _checked(verdict: Any, job: int) -> bool:
    if type(verdict) in _BOOLS:
        return bool(verdict)
    if is_unknown(verdict):
        return False
    raise DefinitionError(
        f"the predicate gives {verdict!r:.60} ({type(verdict).__name__}) for job {job}",
        remedy="it must give True or False for each job",
    )


def _fails(what: str, job: int, error: Exception) -> DefinitionError:
    return DefinitionError(
        f"{what} fails for job {job}: {type(error).__name__}: {error}",
        remedy="mend it, or say by ids= which jobs it is for",
    )


def _name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", None) or repr(function)
