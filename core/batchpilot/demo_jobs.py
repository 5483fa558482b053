"""What one job of the demo computes: a learner's accuracy on one fold of one data set.

Agents import this module once per epoch, in the template; the data sets are read once in each warm
slot.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC


FOLDS = 10
TOO_MANY_NEIGHBOURS = "200 nearest neighbours"
"""More than iris has flowers to learn from: there, scikit-learn must refuse."""

DATA: dict[str, Callable[..., Any]] = {
    "iris": load_iris,
    "wine": load_wine,
    "breast cancer": load_breast_cancer,
    "digits": load_digits,
}

LEARNERS: dict[str, Callable[[], BaseEstimator]] = {
    "logistic regression": lambda: make_pipeline(
        StandardScaler(), LogisticRegression(max_iter=500)
    ),
    "nearest neighbours": lambda: make_pipeline(StandardScaler(), KNeighborsClassifier(5)),
    "support vectors": lambda: make_pipeline(StandardScaler(), SVC()),
    "random forest": lambda: RandomForestClassifier(n_estimators=50),
    "naive Bayes": GaussianNB,
    TOO_MANY_NEIGHBOURS: lambda: make_pipeline(StandardScaler(), KNeighborsClassifier(200)),
}


def accuracy(learner: str, data: str, fold_seed: int, fold: int) -> dict[str, float]:
    """Return the share of a fold that a learner trained on the other folds predicts right.

    Args:
        learner: Name of a learner.
        data: Name of a data set.
        fold_seed: Seed that cuts the data into folds.
        fold: Which of the folds is predicted, from 0.
    """
    x, y = _load(data)
    cut = StratifiedKFold(FOLDS, shuffle=True, random_state=fold_seed)
    train, test = list(cut.split(x, y))[fold]
    print(f"{learner} on {data}: {len(train)} to learn from, {len(test)} to predict")  # noqa: T201 - a job's output is its log
    model = LEARNERS[learner]().fit(x[train], y[train])
    return {"accuracy": float(model.score(x[test], y[test]))}


@cache
def _load(data: str) -> tuple[Any, Any]:
    x, y = DATA[data](return_X_y=True)
    return x, y
