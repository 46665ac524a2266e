"""Rows of a comparison made by hand."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

DIFFICULTY = {f"p{i}": float(d) for i, d in enumerate((5, 0, 3, 2, 4, 1, 6, 7))}


def table(
    values: Mapping[str, Mapping[tuple[str, int, str], float]],
    *,
    metric: str = "dice",
    budget: int = 4,
    status: str = "ok",
) -> pd.DataFrame:
    """Rows from {method: {(patient, seed, class): value}}."""
    rows: list[dict[str, Any]] = []
    for method, cells in values.items():
        for (patient, seed, name), value in cells.items():
            row = {"method": method, "budget": budget, "seed": seed, "case": patient}
            row |= {"patient": patient, "class": name, "metric": metric}
            rows.append(row | {"value": value, "status": status})
    return pd.DataFrame(rows)


def by_patient(method_values: Mapping[str, Sequence[float]], **options: Any) -> pd.DataFrame:
    """Rows of one seed and class from {method: [value of patient p0, p1 ...]}."""
    cells = {}
    for method, values in method_values.items():
        cells[method] = {(f"p{i}", 0, "bone"): value for i, value in enumerate(values)}
    return table(cells, **options)


def with_difficulty(method_values: Mapping[str, Sequence[float]], **options: Any) -> pd.DataFrame:
    rows = by_patient(method_values, **options)
    return rows.assign(difficulty=rows["case"].map(DIFFICULTY))
