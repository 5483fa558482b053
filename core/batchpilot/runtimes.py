"""Estimate how long jobs will run from those that are done: a random forest on their parameters.

scikit-learn is needed (`pip install 'batchpilot[estimate]'`) and loaded only here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .chunking import lpt
from .durations import DAY, HOUR, MINUTE
from .errors import DefinitionError, ExtraMissing
from .ids import coerce_ids


if TYPE_CHECKING:
    import pandas as pd

    from .registry.whole import Registry

MOST_CATEGORIES = 64
"""Values of a column that are told apart; the rest, the rarest, count as one."""

_LARGEST = 1e30
"""Numbers beyond are taken for it: the trees add them up in single precision."""

_NO_VALUE = "(missing)"
_FOREST = {"n_estimators": 300, "min_samples_leaf": 2, "random_state": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeEstimate:
    """Hold observed and estimated run times of jobs.

    Attributes:
        runtimes: `job_id type runtime`: "observed" or "estimated", and seconds.
        model: What estimates them, a pipeline of scikit-learn: `model.predict(table)` takes tables
            with the columns it was made from.
    """

    runtimes: pd.DataFrame
    model: Any

    def __str__(self) -> str:
        return self.summary()

    def summary(self, n: int = 1) -> str:
        """Return what is done, what remains, and how long that takes.

        Args:
            n: Number of processors that the remaining jobs are spread over, the longest first.

        Raises:
            DefinitionError: It is no positive whole number.
        """
        seconds = self.runtimes["runtime"]
        estimated = seconds[self.runtimes["type"] == "estimated"]
        chunks = lpt(estimated, n)
        total, remaining = float(seconds.sum()), float(estimated.sum())
        lines = [("Done", total - remaining)]
        if len(estimated):
            makespan = np.bincount(chunks, weights=estimated).max()
            lines += [("Remaining", remaining), ("Parallel", float(makespan))]
        lines.append(("Total", total))
        width = len(str(int(total // DAY)))
        head = f"Runtime Estimate for {len(seconds)} jobs with {n} CPUs"
        return "\n".join([head, *(f"  {name:<9}: {_span(s, width)}" for name, s in lines)])


def estimate_runtimes(tab: Any, reg: Registry, **forest: Any) -> RuntimeEstimate:
    """Estimate the run times of jobs that are not done from those that are.

    Columns that are no numbers are categories; missing values are allowed.

    Args:
        tab: A table with `job_id` and the columns to learn from, for example
            `bp.unwrap(reg.get_job_pars())`; jobs that have been tried out are best drawn at random.
        reg: The registry.
        **forest: Passed to scikit-learn's `RandomForestRegressor`.

    Raises:
        DefinitionError: None of the jobs is done, or the table has nothing to learn from.
        ExtraMissing: scikit-learn is not installed.

    Example:
        >>> estimate = bp.estimate_runtimes(bp.unwrap(reg.get_job_pars()), reg)
        >>> print(estimate.summary(n=100))
    """
    jobs = _jobs_of(tab, reg)
    features = jobs.drop(columns="job_id")
    if not len(features.columns):
        raise DefinitionError(
            "the table has no columns to learn from",
            remedy="give one with parameters, such as bp.unwrap(reg.get_job_pars())",
        )
    status = reg.get_job_status(jobs["job_id"])
    done = jobs["job_id"].isin(list(reg.find_done())).to_numpy()
    if not done.any():
        raise DefinitionError(
            "No training data available. Some jobs must be finished before estimating runtimes.",
            remedy="submit some of them, drawn at random, and wait for them",
        )
    runtime = status["time_running"].dt.total_seconds().to_numpy(np.float64, copy=True)
    model = _model(features, forest).fit(features[done], runtime[done])
    if not done.all():
        runtime[~done] = model.predict(features[~done])
    return RuntimeEstimate(runtimes=_table(jobs["job_id"], done, runtime), model=model)


def _jobs_of(tab: Any, reg: Registry) -> pd.DataFrame:
    """Return the rows of a table that belong to jobs, sorted by their ids."""
    import pandas as pd  # noqa: PLC0415 - slow, and only needed for tables

    if not isinstance(tab, pd.DataFrame) or "job_id" not in tab:
        raise DefinitionError(
            "a table with the column job_id is needed",
            remedy="give one such as bp.unwrap(reg.get_job_pars())",
        )
    wrapped = [
        str(name)
        for name in tab.columns
        if tab[name].map(lambda value: isinstance(value, dict)).any()
    ]
    if wrapped:
        raise DefinitionError(
            f"the column {wrapped[0]!r} holds dicts", remedy="spread it with bp.unwrap(table)"
        )
    everyone = np.asarray(reg.find_jobs())
    ids = coerce_ids(tab["job_id"], states=lambda ids: np.isin(ids, everyone).view("u1"))
    return tab.set_index("job_id").loc[ids].reset_index()


def _table(ids: pd.Series[int], done: Any, runtime: Any) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - slow, and only needed for tables

    kinds = pd.Categorical(np.where(done, "observed", "estimated"), ["observed", "estimated"])
    return pd.DataFrame({"job_id": ids, "type": kinds, "runtime": runtime})


def _model(features: pd.DataFrame, options: dict[str, Any]) -> Any:
    """Return a forest that takes the columns as they are."""
    try:
        from sklearn.compose import make_column_transformer  # noqa: PLC0415 - of an extra
        from sklearn.ensemble import RandomForestRegressor  # noqa: PLC0415 - of an extra
        from sklearn.pipeline import make_pipeline  # noqa: PLC0415 - of an extra
        from sklearn.preprocessing import (  # noqa: PLC0415 - of an extra
            FunctionTransformer,
            OneHotEncoder,
        )
    except ImportError as error:
        raise ExtraMissing(
            f"estimating run times needs scikit-learn: {error}",
            remedy="pip install 'batchpilot[estimate]'",
        ) from error
    numeric = [name for name in features if features[name].dtype.kind in "biuf"]
    other = [name for name in features if name not in numeric]
    categories = make_pipeline(
        FunctionTransformer(_words),
        OneHotEncoder(
            handle_unknown="infrequent_if_exist",
            max_categories=MOST_CATEGORIES,
            sparse_output=False,
        ),
    )
    columns = make_column_transformer((FunctionTransformer(_numbers), numeric), (categories, other))
    return make_pipeline(columns, RandomForestRegressor(**{**_FOREST, **options}))


def _numbers(table: pd.DataFrame) -> Any:
    return np.clip(table.to_numpy(np.float64), -_LARGEST, _LARGEST)


def _words(table: pd.DataFrame) -> Any:
    return table.astype(object).where(table.notna(), _NO_VALUE).astype(str).to_numpy(object)


def _span(seconds: float, width: int) -> str:
    """Return a time as the original prints it, its days in `width` digits."""
    days, rest = divmod(seconds, DAY)
    hours, rest = divmod(rest, HOUR)
    minutes, rest = divmod(rest, MINUTE)
    return f"{int(days):0{width}}d {int(hours):02}h {int(minutes):02}m {rest:.1f}s"
