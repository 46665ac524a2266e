"""The cases of a comparison by difficulty: a table and its picture."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ssltut.errors import ConfigError
from ssltut.evaluation.statistics import summary
from ssltut.show.static.charts import check_table, side_by_side
from ssltut.show.static.pictures import Picture, picture


def strata(rows: pd.DataFrame, metric: str, bins: int = 6) -> pd.DataFrame:
    """The cases in ``bins`` parts of equal size by difficulty: a row a part, budget and method.

    As the six test parts of Xie et al. 2024. The columns are those of ``summary`` with part (1 the
    easiest), easiest and hardest (its range of difficulty) and cases. Difficulty is what the cohort
    says, in its own scale; the paper's is the HD95 in mm between a shape model and the truth.
    Raises ConfigError when there are fewer cases with a known difficulty than parts.
    """
    of_case = rows.dropna(subset=["difficulty"]).groupby("case")["difficulty"].first()
    difficulty = of_case.sort_values(kind="stable")
    if not 1 <= bins <= len(difficulty):
        problem = f"{len(difficulty)} cases have a known difficulty, for {bins} parts"
        raise ConfigError(problem, fix="choose fewer parts, or compare on more cases")
    tables = []
    for part, cases in enumerate(np.array_split(difficulty.index.to_numpy(), bins), start=1):
        table = summary(rows[rows["case"].isin(cases) | (rows["status"] == "failed")], metric)
        easiest, hardest = difficulty[cases].min(), difficulty[cases].max()
        tables.append(table.assign(part=part, easiest=easiest, hardest=hardest, cases=len(cases)))
    return pd.concat(tables, ignore_index=True)


def strata_curves(
    table: pd.DataFrame, *, ylabel: str, alt: str, bounds: Sequence[str] = ()
) -> Picture:
    """Mean and interval of every method on the easiest to the hardest cases, one metric and budget.

    table    columns part, easiest, hardest, cases, method, mean, low, high, as from ``strata``
    """
    check_table(table, "method", "part", "easiest", "hardest", "cases", "mean", "low", "high")
    ticks = {}
    for row in table.drop_duplicates("part").sort_values("part").itertuples():
        one, several = f"{row.easiest:.2f}\n1 case", f"{row.easiest:.2f} to {row.hardest:.2f}"
        ticks[row.part] = one if row.cases == 1 else f"{several}\n{row.cases} cases"
    xlabel = "difficulty, from the easiest cases to the hardest"
    return picture(side_by_side(table, "part", ticks, xlabel, ylabel, bounds), alt)
