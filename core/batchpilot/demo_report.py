"""The table and the figure of the demo: mean accuracy and its spread over the folds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table


def summarise(results: pd.DataFrame) -> pd.DataFrame:
    """Return mean and sd of the accuracy in percent: a row a learner, a column (figure, data)."""
    table = 100 * results.pivot_table(
        index="algorithm", columns="problem", values="accuracy", aggfunc=["mean", "std"], sort=False
    )
    return table.rename(index=_in_words, columns=_in_words)


def _in_words(name: str) -> str:
    return name.replace("_", " ")


def print_table(summary: pd.DataFrame, folds: int) -> None:
    """Print mean ± sd as a table, the best learner of each data set in bold."""
    table = Table(
        title=f"Accuracy in %, mean ± sd over {folds} folds",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("learner", no_wrap=True)
    names = data_sets(summary)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    best = {name: summary["mean", name].idxmax() for name in names}
    for learner in summary.index:
        cells = [_cell(summary, learner, name, bold=learner == best[name]) for name in names]
        table.add_row(str(learner), *cells)
    Console(highlight=False).print(table)


def _cell(summary: pd.DataFrame, learner: Any, name: str, *, bold: bool) -> str:
    mean, sd = (float(summary[figure, name][learner]) for figure in ("mean", "std"))
    text = f"{mean:.1f} ± {sd:.1f}"
    return f"[bold]{text}[/bold]" if bold else text


def data_sets(summary: pd.DataFrame) -> list[str]:
    """Return the names of the data sets in the order of the study."""
    return list(dict.fromkeys(summary.columns.get_level_values("problem")))


def draw(summary: pd.DataFrame, path: Path) -> None:
    """Draw mean ± sd, a panel a data set, into a PNG file."""
    mpl.use("Agg")
    names = data_sets(summary)
    figure = Figure(figsize=(2.6 * len(names) + 1.6, 2.9), layout="constrained")
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    learners = list(summary.index)
    for name, panel in zip(names, panels, strict=True):
        panel.errorbar(
            summary["mean", name],
            learners,
            xerr=summary["std", name],
            fmt="o",
            capsize=3,
            color="#1f5f8b",
        )
        panel.set_title(name)
        panel.grid(axis="x", color="0.9")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].invert_yaxis()
    figure.supxlabel("accuracy in % (mean ± sd over the folds)", fontsize="medium")
    figure.savefig(path, dpi=150)
