"""The tables of a record as Markdown: ``python results/tables.py results/synthetic_class.csv``.

``--study`` is the table of a study (results/studies.py): its arms in its order, with the means of
the metrics and the difference of one of them, ``--metric``, to the control. ``--budget 4 --costs
results/costs.csv`` puts two metrics of one number of labelled scans beside the costs of a step, a
row for each method; ``--across`` puts the means at all numbers of labelled scans side by side, for
the methods that have them all.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

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
from ssltut.metrics import TOLERANCE_MM

UNITS = {
    "dice": ("Dice", 3),
    "assd": ("ASSD, mm", 2),
    "hd95": ("HD95, mm", 1),
    "surface_dice": (f"surface Dice at {TOLERANCE_MM:g} mm", 3),
}
TWO = ("dice", "hd95")  # for tables that are wide already
OF_A_STUDY = ("dice", "assd", "hd95")


def markdown(rows: pd.DataFrame, metric: str) -> str:
    """A row a method: mean, interval, spread over draws, what was missed, and the paired difference
    to the control; then the verdict.
    """
    (name, digits), against = UNITS[metric], paired(rows, metric)
    table = summary(rows, metric)
    differences = {(row["method"], row["budget"]): row for row in against.to_dict("records")}
    head = [
        *("", "fidelity", name, "95 % interval", "sd over draws", "missed"),
        *(f"minus {title_of(baseline_of(rows['method']))}", "95 % interval", "p (Holm)"),
        *("draws better", "wins / ties / losses, %"),
    ]
    lines = []
    for row in table.to_dict("records"):
        line = [row["title"], row["fidelity"], *mean_of(row, digits)]
        line += [f"{row['sd over seeds']:.{digits}f}", str(row["missed"])]
        if difference := differences.get((row["method"], row["budget"])):
            shares = " / ".join(f"{100 * difference[n]:.0f}" for n in ("wins", "ties", "losses"))
            line += [*gain_of(difference, digits), shares]
        lines.append([*line, *[""] * (len(head) - len(line))])
    return f"{lines_of(head, lines)}\n\n{unit_of(table)} {verdict(against)}"


def study(
    rows: pd.DataFrame,
    fidelity: Mapping[str, str],
    metric: str = "dice",
    baseline: str | None = None,
) -> str:
    """A row an arm, in the order of ``fidelity`` ({arm: word}), for one number of labelled scans.

    Means with their intervals, what was missed, and the difference in ``metric`` to the control (or
    ``baseline``, where one of them was run), with the verdict.
    """
    tables = {name: summary(rows, name).set_index("method") for name in OF_A_STUDY}
    head = ["", "fidelity", *(UNITS[name][0] for name in OF_A_STUDY), "missed"]
    lines = {}
    for arm in [arm for arm in fidelity if arm in set(rows["method"])]:
        means = [mean_of(tables[name].loc[arm], UNITS[name][1]) for name in OF_A_STUDY]
        lines[arm] = [title_of(arm), fidelity[arm], *(f"{m} ({ends})" for m, ends in means)]
        lines[arm].append(str(tables[metric].loc[arm, "missed"]))
    text = unit_of(tables[metric])
    baseline = baseline or baseline_of(rows["method"])
    if baseline in lines:
        against, (name, digits) = paired(rows, metric, baseline), UNITS[metric]
        head += [f"{name}, minus {title_of(baseline)}", "p (Holm)", "draws better"]
        lines[baseline] += [""] * 3
        for row in against.to_dict("records"):
            mean, ends, *test = gain_of(row, digits)
            lines[row["method"]] += [f"{mean} ({ends})", *test]
        text = f"{text} {verdict(against)}"
    return f"{lines_of(head, lines.values())}\n\n{text}"


def fidelities(arms: Mapping[str, Any]) -> dict[str, str]:
    """How near each arm of a study is to its source: with options of our own, not as published."""
    words = {}
    for name, arm in arms.items():
        word = fidelity_of(arm.method)
        words[name] = "adapted" if arm.options and word == "published" else word
    return words


def beside_costs(rows: pd.DataFrame, costs: pd.DataFrame) -> str:
    """A row a method: mean of two metrics with their intervals and the corrected p of the
    difference to the control, what was missed, then what a step costs.
    """
    head, lines = named(rows)
    for metric in TWO:
        name, digits = UNITS[metric]
        head += [name, "95 % interval", "p (Holm)"]
        table = summary(rows, metric).merge(paired(rows, metric)[["method", "p Holm"]], how="left")
        for row in table.to_dict("records"):
            lines[row["method"]] += [*mean_of(row, digits), number(row["p Holm"], ".2g")]
    head.append("missed")
    for row in table.to_dict("records"):
        lines[row["method"]].append(str(row["missed"]))
    spent = costs.set_index("method")
    for method, line in lines.items():
        line += [
            f"{spent.loc[method, column]:.{digits}f}"
            for column, digits in zip(COSTS, (0, 0, 0, 2), strict=True)
        ]
    return lines_of([*head, *COSTS], lines.values())


def across_budgets(rows: pd.DataFrame) -> str:
    """A row a method: the mean of two metrics at each budget, with + or - where it is better or
    worse than the control after Holm's correction, and in brackets what was missed.
    """
    budgets = sorted(rows["budget"].unique())
    rows = rows.groupby("method").filter(lambda part: part["budget"].nunique() == len(budgets))
    head, lines = named(rows)
    for metric in TWO:
        name, digits = UNITS[metric]
        head += [f"{name}: {budgets[0]}", *map(str, budgets[1:])]
        table = (
            summary(rows, metric)
            .merge(paired(rows, metric)[["method", "budget", "difference", "p Holm"]], how="left")
            .sort_values("budget")
        )
        for row in table.to_dict("records"):
            better = (row["difference"] > 0) == HIGHER_IS_BETTER[metric]
            sign = ("+" if better else "-") if row["p Holm"] < 0.05 else ""
            missed = f"({row['missed']} missed)" if row["missed"] else ""
            words = [f"{row['mean']:.{digits}f}", sign, missed]
            lines[row["method"]].append(" ".join(filter(None, words)))
    return lines_of(head, lines.values())


def named(rows: pd.DataFrame) -> tuple[list[str], dict[str, list[str]]]:
    """The first columns, title and fidelity: their heads, and a line for each method."""
    methods = order_of(rows["method"].unique())
    return ["", "fidelity"], {name: [title_of(name), fidelity_of(name)] for name in methods}


def number(value: float, form: str) -> str:
    """Nothing where there is no value, as of a test with one draw."""
    return "" if pd.isna(value) else f"{value:{form}}"


def mean_of(row: Any, digits: int) -> list[str]:
    """The mean and its interval of a row of ``summary``."""
    return [f"{row['mean']:.{digits}f}", f"{row['low95']:.{digits}f} to {row['high95']:.{digits}f}"]


def gain_of(row: Any, digits: int) -> list[str]:
    """Difference, interval, corrected p and draws of a row of ``paired``."""
    ends = f"{row['low95']:+.{digits}f} to {row['high95']:+.{digits}f}"
    draws = f"{row['draws better']} of {row['draws']}"
    return [f"{row['difference']:+.{digits}f}", ends, number(row["p Holm"], ".2g"), draws]


def unit_of(table: pd.DataFrame) -> str:
    """What the intervals of a summary are over."""
    return f"Intervals are over {' or '.join(table['over'].unique())}."


def lines_of(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rows", type=Path)
    parser.add_argument("--budget", type=int)
    parser.add_argument("--costs", type=Path)
    parser.add_argument("--across", action="store_true")
    parser.add_argument("--study", action="store_true")
    parser.add_argument("--metric", choices=list(UNITS), default="dice")
    parser.add_argument("--baseline")
    args = parser.parse_args()
    found = read_rows(args.rows)
    found = found if args.budget is None else found[found["budget"] == args.budget]
    if args.study:
        from studies import STUDIES

        if args.rows.stem not in STUDIES:
            parser.error(f"there is no study {args.rows.stem}, but {', '.join(STUDIES)}")
        words = fidelities(STUDIES[args.rows.stem].arms)
        for budget, part in found.groupby("budget"):
            print(f"{budget} labelled\n\n{study(part, words, args.metric, args.baseline)}\n")
    elif args.across:
        print(across_budgets(found))
    elif args.costs:
        print(beside_costs(found, pd.read_csv(args.costs)))
    else:
        known = set(found["metric"])
        print("\n\n".join(markdown(found, metric) for metric in UNITS if metric in known))


if __name__ == "__main__":
    main()
