"""A page of the site for each method, and the table of all: from the registry, from notebook 07's
tables of ideas and equations, and from the records.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ssltut.evaluation.record import recorded
from ssltut.evaluation.statistics import baseline_of, order_of, paired, summary
from ssltut.methods.contract import FIDELITIES, IDEAS, Method
from ssltut.methods.registry import METHODS, title_of

ROOT = next(
    folder for folder in Path(__file__).resolve().parents if (folder / "pyproject.toml").is_file()
)
GALLERY = ROOT / "notebooks" / "masters" / "07_gallery.py"
PICTURES = ROOT / "notebooks" / "figures" / "gallery"
BUDGET = 4  # labelled scans
# What each record is, the best first. The last one was made under rules that a review overturned.
RECORDED = {
    "bone": ("bone against rest, 2400 steps", "../results.md"),
    "synthetic_class": ("the class of the notebooks, 200 steps", "../notebooks.md"),
    "archive/synthetic_bench": ("the first rules, 600 steps", "../results-archive.md"),
}
# Records name these hosts of the vote as methods of their own.
EARLIER = {"vote_beside": ("scan_vote", "evidential_vote")}


class Entry(NamedTuple):
    """A row of notebook 07: the family it stands in, the idea, and the loss that makes it."""

    family: str
    idea: str
    equation: str
    symbol: str  # what the column of equations is called


def entries(master: str) -> dict[str, Entry]:
    """{title of a method: its row} of the tables in the text of notebook 07's master."""
    family, symbol, found = "", "", {}
    for line in master.splitlines():
        if heading := re.match(r"# ## \d+\. (.+)", line):
            family = heading[1]
        cells = [cell.strip() for cell in line.removeprefix("# |").removesuffix("|").split(" | ")]
        if not line.startswith("# |") or len(cells) != 3:
            continue
        if cells[0] == "method":
            symbol = cells[2]
        else:
            found[cells[0]] = Entry(family, cells[1], cells[2].replace(r"$\,", "$"), symbol)
    return found


def entry_of(method: type[Method], found: Mapping[str, Entry]) -> Entry:
    """The row of a method, which the notebook calls by its title or, shorter, by its name.

    Raises KeyError where the notebook does not have it.
    """
    by_letters = {re.sub(r"\W", "", word).lower(): entry for word, entry in found.items()}
    return found.get(method.title) or by_letters[method.name.replace("_", "")]


@cache
def scores(record: str) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Dice of a record: means, and differences to its baseline, by method; and that baseline."""
    rows = recorded(record)
    rows = rows[rows["budget"] == BUDGET]
    means, against = summary(rows, "dice"), paired(rows, "dice")
    return means.set_index("method"), against.set_index("method"), baseline_of(rows["method"])


def records_of(name: str) -> list[str]:
    """What our records say of a method, as a Markdown table; no line where it has none."""
    head = ["record", "method", "Dice", "95 % interval", "minus", "difference", "interval"]
    lines = []
    for record, (title, page) in RECORDED.items():
        means, against, baseline = scores(record)
        for own in (name, *EARLIER.get(name, ())):
            if own not in means.index:
                continue
            row, line = means.loc[own], [f"[{title}]({page})", title_of(own)]
            line += [f"{row['mean']:.3f}", f"{row['low95']:.3f} to {row['high95']:.3f}"]
            line += [title_of(baseline), *gain(against, own)]
            lines.append(line)
    return table([head, *lines]) if lines else []


def gain(against: pd.DataFrame, name: str) -> list[str]:
    """The difference to the baseline and its interval."""
    if name not in against.index:
        return ["is the baseline", "-"]
    row = against.loc[name]
    return [f"{row['difference']:+.3f}", f"{row['low95']:+.3f} to {row['high95']:+.3f}"]


def table(lines: list[list[str]]) -> list[str]:
    """Lines of cells as a Markdown table."""
    head, *rest = lines
    return ["| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rest]]


def cost_of(name: str, costs: pd.DataFrame) -> str:
    """What a step costs, in words; seconds as a multiple of those of labels only."""
    if name not in costs.index:
        return "not measured"
    row, base = costs.loc[name], costs.loc["labels_only"]
    passes, networks = row["forward passes"], row["networks"]
    return (
        f"{times(row, base):.1f} times the seconds of labels only; {passes:.0f} forward"
        f" {plural('pass', passes)}, {networks:.0f} {plural('network', networks)},"
        f" {row['memory (MiB)']:.0f} MiB on the small bench"
    )


def times(row: pd.Series, base: pd.Series) -> float:
    return float(row["seconds a step"] / base["seconds a step"])


def plural(word: str, n: float) -> str:
    return word if n == 1 else word + ("es" if word.endswith("s") else "s")


def source_of(paper: str) -> str:
    """The paper, its arXiv number as a link."""
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", paper)


def method_page(method: type[Method], entry: Entry, costs: pd.DataFrame, picture: bool) -> str:
    """The page of a method in Markdown."""
    name, module = method.name, method.__module__
    file = module.replace(".", "/")
    ideas = "; ".join(f"{word} ({IDEAS[word]})" for word in method.ideas)
    facts = {
        "Idea": entry.idea,
        "Equation": f"{entry.symbol}: {entry.equation}",
        "Kind": ideas or "a bound or a control",
        "Source": source_of(f"{method.paper} ({method.year})" if method.paper else "this project"),
        "Fidelity": f"{method.fidelity}: {FIDELITIES[method.fidelity]}",
        "Learns from": str(method.supervision),
        "Cost of a step": cost_of(name, costs),
        "Source code": f'<a href="../_modules/{file}.html">{file}.py</a>',
    }
    lines = [f"# {method.title}", "", (method.__doc__ or "").strip().splitlines()[0], ""]
    for word, said in facts.items():
        lines += [word, f": {said}", ""]
    if picture:
        words = f"What {method.title} does with one scan after 60 steps; notebook 07 explains it."
        lines += [f"![{words}](../figures/gallery/{name}.png)", ""]
    lines += ["## In our records", ""]
    lines += records_of(name) or ["It has no row yet."]
    command = f"ssltut train my_cohort/ --method {name} --out runs/{name}"
    lines += [
        "",
        f"{BUDGET} labelled scans. Read the intervals, and [how methods are judged]"
        "(../statistics.md); a row under the first rules says what was measured then, no more.",
        "",
        *("## Try it", "", "```", command, "```", ""),
        f"In [notebook 07](../notebooks/07_gallery.ipynb) it stands under *{entry.family}*.",
        "",
        *("## In its own words", "", "::::{container} docstring", "```{eval-rst}"),
        f".. autoclass:: {module}.{method.__name__}",
        *("   :no-members:", "   :no-index:", "```", "::::", ""),
    ]
    return "\n".join(lines)


def overview(families: list[str], found: Mapping[str, Entry], costs: pd.DataFrame) -> list[str]:
    """The table of all methods, family by family; ``found`` has the row of each, by name."""
    means, against, _ = scores("bone")
    head = ["method", "idea", "fidelity", "seconds a step", "Dice", "minus the control"]
    lines = []
    for family in families:
        names = [name for name, entry in found.items() if entry.family == family]
        rows = [head]
        for name in names:
            method = METHODS[name]
            cost = "-"
            if name in costs.index:
                cost = f"{times(costs.loc[name], costs.loc['labels_only']):.1f}"
            dice, gained = "-", "-"
            if name in means.index:
                dice, gained = f"{means.loc[name, 'mean']:.3f}", gain(against, name)[0]
            link = f"[{method.title}](methods/{name}.md)"
            rows.append([link, found[name].idea, method.fidelity, cost, dice, gained])
        lines += [f"## {family}", "", *table(rows), ""]
    return lines


def write(source: Path) -> list[str]:
    """``source``/methods: a page for each method. Returns the lines of the table of all.

    Raises KeyError for a method that notebook 07 does not name.
    """
    rows = entries(GALLERY.read_text(encoding="utf-8"))
    found = {name: entry_of(METHODS[name], rows) for name in order_of(METHODS)}
    costs = recorded("costs").set_index("method")
    (source / "methods").mkdir()
    for name, method in METHODS.items():
        picture = (PICTURES / f"{name}.png").is_file()
        text = method_page(method, found[name], costs, picture)
        (source / "methods" / f"{name}.md").write_text(text, encoding="utf-8")
    families = list(dict.fromkeys(entry.family for entry in rows.values()))
    return overview(families, found, costs)
