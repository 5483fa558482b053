"""Find and count experiments by what they are made of."""

from __future__ import annotations

import re
import sys
from collections import ChainMap, defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from batchpilot.errors import DefinitionError, UnknownName
from batchpilot.experiments.tidying import IDENTITY
from batchpilot.expressions import predicate
from batchpilot.ids import JobIds
from batchpilot.store.database import Transaction
from batchpilot.store.experiments import Experiments
from batchpilot.store.pages import Ids
from batchpilot.store.rows import read_sets
from batchpilot_agent.objects import ObjectStore

from .experiments import Experimenting
from .tables import Tabulating


if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Any]
_Test = Callable[[str], bool]


class FindingExperiments(Experimenting, Tabulating):
    """Find and count experiments."""

    def find_experiments(  # noqa: PLR0913, PLR0917 - all that an experiment is made of
        self,
        ids: Any = None,
        prob_name: str | None = None,
        prob_pattern: str | None = None,
        algo_name: str | None = None,
        algo_pattern: str | None = None,
        prob_pars: Any = None,
        algo_pars: Any = None,
        repls: Any = None,
    ) -> JobIds:
        """Find experiments that match all that is given.

        Args:
            ids: Jobs to look at, by default all.
            prob_name: Name of the problem.
            prob_pattern: Regular expression that is found in the problem's name.
            algo_name: Name of the algorithm.
            algo_pattern: Regular expression that is found in the algorithm's name.
            prob_pars: Expression over the problem's parameters as in `find_jobs`, or a function of
                them. A parameter that a problem does not have is unknown there.
            algo_pars: The same for the algorithm's.
            repls: Replications: a number, or several.

        Raises:
            UnknownName: A name in an expression is neither a parameter nor a variable.
            DefinitionError: An expression fails for a job, or a name, pattern or number is none.

        Example:
            >>> reg.find_experiments(prob_name="noise", prob_pars="n > 10", repls=1)
        """
        self._check_experiments()
        frame = sys._getframe(1)  # noqa: SLF001 - the caller's variables are part of the language
        variables = ChainMap(frame.f_locals, frame.f_globals)
        names = (_test(prob_name, prob_pattern, "prob"), _test(algo_name, algo_pattern, "algo"))
        numbers = None if repls is None else _numbers(repls)
        with self._db.read() as tx:
            chosen = self._chosen(tx, ids)
            experiments = Experiments(tx)
            if numbers is not None:
                chosen = chosen[np.isin(experiments.repl[chosen - 1], numbers)]
            if any(test is not None for test in names):
                found = [
                    n for n, prob, algo in tx.all("definition_names") if _fits(names, prob, algo)
                ]
                chosen = chosen[np.isin(experiments.definition[chosen - 1], found)]
            asked = {
                which: (expr, _Parameters(tx, self.objects, which))
                for which, expr in enumerate((prob_pars, algo_pars))
                if expr is not None
            }
        for expr, pars in asked.values():  # the user's code, outside of the transaction
            chosen = chosen[pars.matching(expr, variables, chosen, experiments.definition)]
        return JobIds.trusted(chosen)

    def summarize_experiments(
        self, ids: Any = None, by: str | Sequence[str] = ("problem", "algorithm")
    ) -> pd.DataFrame:
        """Count experiments by problem and algorithm, or by other columns.

        Args:
            ids: Jobs, by default all.
            by: `problem`, `algorithm`, `repl`, and names of parameters.

        Returns:
            The columns of `by` and `_count`, in the order of the first job of each group.

        Raises:
            DefinitionError: There is no such column, or its values cannot be grouped.

        Example:
            >>> reg.summarize_experiments(by=["problem", "n"])
        """
        self._check_experiments()
        columns = [by] if isinstance(by, str) else list(by)
        table = (
            self._identities(ids) if set(columns) <= set(IDENTITY) else self._tidy(ids, unwrap=True)
        )
        unknown = [name for name in columns if name not in table.columns]
        if unknown or not columns:
            raise DefinitionError(
                f"there is no column {unknown[0]!r}" if unknown else "nothing to count by",
                remedy=f"the columns are {', '.join(table.columns[1:])}",
            )
        return _counted(table, columns)


def _fits(tests: Sequence[_Test | None], *names: str) -> bool:
    return all(test is None or test(name) for test, name in zip(tests, names, strict=True))


def _test(name: Any, pattern: Any, what: str) -> _Test | None:
    """Return what tells whether a name is meant, None where all are."""
    for value, of in ((name, "name"), (pattern, "pattern")):
        if value is not None and not isinstance(value, str):
            raise DefinitionError(
                f"{what}_{of}={value!r:.40} is no single string",
                remedy=f"give one; for several, {what}_pattern='^(a|b)$'",
            )
    try:
        found = re.compile(pattern or "").search
    except re.error as error:
        raise DefinitionError(
            f"{pattern!r} is no regular expression: {error}", remedy="mend it"
        ) from error
    if name is None and pattern is None:
        return None
    return lambda candidate: name in (None, candidate) and found(candidate) is not None


def _numbers(repls: Any) -> list[int]:
    values = [repls] if isinstance(repls, Integral) else list(repls)
    if any(isinstance(value, bool) or not isinstance(value, Integral) for value in values):
        raise DefinitionError(
            f"repls={repls!r:.40} are no replications", remedy="give whole numbers from 1"
        )
    return [int(value) for value in values]


class _Parameters:
    """Hold the parameters of the problems (0) or algorithms (1) of all definitions.

    Definitions that share them share a set; each set is read and looked at once.

    Args:
        tx: A view of the registry's database.
        objects: Where large values are.
        which: Of which.
    """

    def __init__(self, tx: Transaction, objects: ObjectStore, which: int) -> None:
        self._pars, members = read_sets(tx, objects, which)
        self._set = np.zeros(members[-1][0] + 1 if members else 1, np.int64)
        numbers, places = np.array(members, np.int64).reshape(-1, 2).T
        self._set[numbers] = places
        self._names = tuple(dict.fromkeys(chain.from_iterable(self._pars)))

    def matching(
        self, expr: Any, variables: Mapping[str, Any], ids: Ids, definition: NDArray[Any]
    ) -> NDArray[np.bool_]:
        """Tell which jobs match.

        Args:
            expr: An expression or a function.
            variables: The caller's variables.
            ids: The jobs.
            definition: Definitions of all jobs.
        """
        sets, first, back = np.unique(
            self._set[definition[ids - 1]], return_index=True, return_inverse=True
        )
        if not len(ids):
            return np.zeros(0, bool)
        test, jobs = predicate(expr, self._names, variables), ids[first]  # errors name a job
        pars = [self._pars[at] for at in sets.tolist()]
        if isinstance(expr, str):
            found = test.select([tuple(map(row.get, self._names)) for row in pars], jobs)
        else:
            found = _called(expr, pars, jobs)
        matches: NDArray[np.bool_] = np.isin(jobs, found)[back]
        return matches


def _called(function: Any, pars: Sequence[Row], jobs: Ids) -> Ids:
    """Return the jobs for which a function is true; it is not asked where it lacks something."""
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for at, row in enumerate(pars):
        groups[tuple(row)].append(at)
    found = [np.empty(0, np.int64)]
    for names, places in groups.items():
        try:
            test = predicate(function, names)
        except UnknownName:
            continue  # a parameter that these do not have
        found.append(test.select([tuple(pars[at].values()) for at in places], jobs[places]))
    return np.concatenate(found)


def _counted(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    try:
        counts = table.groupby(columns, sort=False, dropna=False).size()
    except TypeError as error:
        raise DefinitionError(
            f"the values of {', '.join(columns)} cannot be grouped: {error}",
            remedy="count by columns of numbers and strings",
        ) from error
    return counts.rename("_count").reset_index()
