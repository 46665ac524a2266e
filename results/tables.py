"""The tables of a record as Markdown: ``python results/tables.py results/synthetic_class.csv``.

``--budget 4 --costs results/costs.csv`` puts both metrics of one number of labelled scans beside
the costs of a step, a row for each method; ``--across`` puts the means at all numbers of labelled
scans side by side, for the methods that have them all.
"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from ssltut.evaluation.record import COSTS, read_rows
from ssltut.evaluation.statistics import (
    HIGHER_IS_BETTER,
    baseline_of,
    order_of,
    paired,
    summary,
    title_of,
    verdict,
)
from ssltut.methods.registry import fidelity_of

UNITS = {"dice": ("Dice", 3), "hd95": ("HD95, mm", 1)}


def markdown(rows: pd.DataFrame, metric: str) -> str:
    """A row a method: mean, interval over patients, spread over seeds, and the paired difference to
    the control; then the verdict.
    """
    (name, digits), against = UNITS[metric], paired(rows, metric)
    table = summary(rows, metric).merge(
        against[["method", "budget", "difference", "p Holm", "wins", "ties", "losses"]], how="left"
    )
    head = [
        "",
        "fidelity",
        name,
        "95 % interval",
        "sd over seeds",
        f"minus {title_of(baseline_of(rows['method']))}",
        "p (Holm)",
        "wins / ties / losses",
    ]
    lines = []
    for row in table.to_dict("records"):
        values = [
            row["title"],
            row["fidelity"],
            *mean_of(row, digits),
            f"{row['sd over seeds']:.{digits}f}",
        ]
        if pd.notna(row["difference"]):
            values += [
                f"{row['difference']:+.{digits}f}",
                f"{row['p Holm']:.2g}",
                f"{row['wins']:.0f} / {row['ties']:.0f} / {row['losses']:.0f}",
            ]
        lines.append([*values, *[""] * (len(head) - len(values))])
    return f"{lines_of(head, lines)}\n\n{verdict(against)}"


def beside_costs(rows: pd.DataFrame, costs: pd.DataFrame) -> str:
    """A row a method: mean of each metric with its interval and the corrected p of its difference
    to the control, then what a step costs.
    """
    head, lines = named(rows)
    for metric, (name, digits) in UNITS.items():
        head += [name, "95 % interval", "p (Holm)"]
        table = summary(rows, metric).merge(paired(rows, metric)[["method", "p Holm"]], how="left")
        for row in table.to_dict("records"):
            lines[row["method"]] += [
                *mean_of(row, digits),
                "" if pd.isna(row["p Holm"]) else f"{row['p Holm']:.2g}",
            ]
    spent = costs.set_index("method")
    for method, line in lines.items():
        line += [
            f"{spent.loc[method, column]:.{digits}f}"
            for column, digits in zip(COSTS, (0, 0, 0, 2), strict=True)
        ]
    return lines_of([*head, *COSTS], lines.values())


def across_budgets(rows: pd.DataFrame) -> str:
    """A row a method: the mean of each metric at each budget, with + or - where it is better or
    worse than labels only after Holm's correction.
    """
    budgets = sorted(rows["budget"].unique())
    rows = rows.groupby("method").filter(lambda part: part["budget"].nunique() == len(budgets))
    head, lines = named(rows)
    for metric, (name, digits) in UNITS.items():
        head += [f"{name}: {budgets[0]}", *map(str, budgets[1:])]
        table = (
            summary(rows, metric)
            .merge(paired(rows, metric)[["method", "budget", "difference", "p Holm"]], how="left")
            .sort_values("budget")
        )
        for row in table.to_dict("records"):
            sign = (
                ("+" if (row["difference"] > 0) == HIGHER_IS_BETTER[metric] else "-")
                if row["p Holm"] < 0.05
                else ""
            )
            lines[row["method"]].append(f"{row['mean']:.{digits}f} {sign}".strip())
    return lines_of(head, lines.values())


def named(rows: pd.DataFrame) -> tuple[list[str], dict[str, list[str]]]:
    """The first columns, title and fidelity: their heads, and a line for each method."""
    methods = order_of(rows["method"].unique())
    return ["", "fidelity"], {name: [title_of(name), fidelity_of(name)] for name in methods}


def mean_of(row: dict, digits: int) -> list[str]:
    """The mean and its interval of a row of ``summary``."""
    return [f"{row['mean']:.{digits}f}", f"{row['low95']:.{digits}f} to {row['high95']:.{digits}f}"]


def lines_of(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *lines])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rows", type=Path)
    parser.add_argument("--budget", type=int)
    parser.add_argument("--costs", type=Path)
    parser.add_argument("--across", action="store_true")
    args = parser.parse_args()
    found = read_rows(args.rows)
    found = found if args.budget is None else found[found["budget"] == args.budget]
    if args.across:
        print(across_budgets(found))
    else:
        print(
            beside_costs(found, pd.read_csv(args.costs))
            if args.costs
            else "\n\n".join(markdown(found, metric) for metric in UNITS)
        )
