"""What the demo compares: data sets are problems, learners are algorithms.

An instance is one cut of a data set: the observations of one fold to predict, all others to learn
from. The folds are drawn under the instance's seed, so every learner sees the same ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

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

DATA: dict[str, Callable[..., Any]] = {
    "iris": load_iris,
    "wine": load_wine,
    "breast_cancer": load_breast_cancer,
    "digits": load_digits,
}


class Cut(NamedTuple):
    """Hold observations to learn from and to predict, with their classes."""

    train: Any
    classes: Any
    test: Any
    truth: Any


def cut(data: Any, job: Any, fold: int) -> Cut:
    """Return one fold of a data set to predict, and the others to learn from.

    Args:
        data: Observations and their classes.
        job: The job; its instance seed draws the folds.
        fold: Which of the folds is predicted, from 0.
    """
    x, y = data
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=job.instance_seed)
    train, test = list(folds.split(x, y))[fold]
    return Cut(x[train], y[train], x[test], y[test])


def logistic_regression(instance: Cut) -> dict[str, float]:
    """Learn by logistic regression."""
    return accuracy(make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)), instance)


def nearest_neighbours(instance: Cut, k: int = 5) -> dict[str, float]:
    """Learn by the k nearest neighbours."""
    return accuracy(make_pipeline(StandardScaler(), KNeighborsClassifier(k)), instance)


def support_vectors(instance: Cut) -> dict[str, float]:
    """Learn by a support vector machine."""
    return accuracy(make_pipeline(StandardScaler(), SVC()), instance)


def random_forest(instance: Cut) -> dict[str, float]:
    """Learn by a random forest, whose trees are drawn under the job's seed."""
    return accuracy(RandomForestClassifier(n_estimators=50), instance)


def naive_bayes(instance: Cut) -> dict[str, float]:
    """Learn by naive Bayes."""
    return accuracy(GaussianNB(), instance)


def accuracy(model: BaseEstimator, instance: Cut) -> dict[str, float]:
    """Return the share that a model, trained on the one part, predicts right of the other."""
    print(f"{len(instance.truth)} to predict from {len(instance.classes)}")  # noqa: T201 - a job's output is its log
    model.fit(instance.train, instance.classes)
    return {"accuracy": float(model.score(instance.test, instance.truth))}


LEARNERS = (
    logistic_regression,
    nearest_neighbours,
    support_vectors,
    random_forest,
    naive_bayes,
)
