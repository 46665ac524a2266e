"""Methods x label budgets x seeds on one cohort, one row per case, class and metric; and statistics that hold.

The test split is opened here and nowhere else.
"""

import hashlib
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from ssltut.checkpoint import write_atomically
from ssltut.data.cohort import Cohort
from ssltut.data.split import Split
from ssltut.errors import ConfigError, DataError, SsltutError
from ssltut.methods import METHODS, Method, make_method
from ssltut.metrics import HIGHER_IS_BETTER, score_case
from ssltut.profiles import TrainConfig
from ssltut.workers import open_workers, usual_workers

LOWER_BOUND, UPPER_BOUND = "labels_only", "all_labels"


def provenance() -> dict[str, str]:
    """Command, commit and machine: what a row needs to be made again."""
    try:
        commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent, capture_output=True, text=True,
                                timeout=10, check=False)
        commit = commit.stdout.strip() or "unknown"
    except (OSError, subprocess.TimeoutExpired):
        commit = "unknown"
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return {"command": command, "commit": commit, "machine": f"{platform.system()} {platform.machine()}, {hardware()}"}


def hardware() -> str:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    return f"CPU, {torch.get_num_threads()} threads"


def score_run(run, cases) -> pd.DataFrame:
    """One row per case, class and metric for a trained run on ``cases`` with labels. Raises DataError when a case has none."""
    rows = []
    for case in cases:
        if case.label is None:
            raise DataError("the case has no label to compare with", where=case.id, fix="evaluate on labelled cases only")
        scores = score_case(run.predict(case), case.label, case.spacing, run.table.names)
        known = {"case": case.id, "patient": case.patient, "difficulty": case.meta.get("difficulty")}
        rows += [known | row for row in scores]
    return pd.DataFrame(rows)


def run_one(cohort: Cohort, method: Method, config: TrainConfig, split: Split, folder: Path, known: dict[str, object]) -> pd.DataFrame:
    """Train ``method`` on the cohort split like this, in ``folder``, and score it on the test scans: the rows of one run, ``known`` in each.

    An SsltutError becomes one row with status "failed" and its message.
    """
    from ssltut.train import train

    begun, drawn = time.monotonic(), replace(cohort, split=split)
    try:
        run = train(method, drawn, config, folder, say=lambda line: None)
        rows = score_run(run, drawn.test()).assign(selected_step=run.selected["step"], selection=run.selected["rule"], error="")
    except SsltutError as error:
        rows = failure(error)
    return rows.assign(seconds=round(time.monotonic() - begun, 1), **known, **provenance())


def failure(error: SsltutError) -> pd.DataFrame:
    return pd.DataFrame([{"case": "", "metric": "", "value": np.nan, "status": "failed", "error": str(error)}])


def compare(cohort: Cohort, methods: Sequence[str], folder: Path, *, config: TrainConfig, budgets: Iterable[int] = (4,),
            seeds: Iterable[int] = (0, 1, 2), draw: bool = True, options: dict[str, dict] | None = None, workers: int | None = 0,
            dask: str | None = None, say: Callable[[str], None] = print) -> pd.DataFrame:
    """Train and score every method with every budget and seed; returns all rows and writes them to ``folder``/results.csv.

    A seed draws which cases are labelled (the same for all methods), the weights, the patches and the views; with ``draw=False`` the first
    ones of the split are labelled for every seed, as in the published protocols. Finished runs are found in ``folder`` and not done again;
    a run that fails becomes a row with status "failed" and its message, and is tried again by the next call.
    ``workers`` processes share the runs (0: this process alone, None: as many as suit the machine), or the cluster at the address ``dask``, see
    ssltut.workers. With as many threads to each the values are the same bit for bit; a worker that dies costs what it did since its checkpoint.
    Raises ConfigError for unknown methods, too large a budget, no such cluster, or a folder that holds something else, before anything is trained.
    """
    folder, options, seeds, here = Path(folder).absolute(), options or {}, tuple(seeds), provenance()
    made = {name: make_method(name, options.get(name)) for name in methods}
    plan = [(budget, seed, name) for budget in dict.fromkeys(budgets) for seed in dict.fromkeys(seeds) for name in made]
    for budget in {budget for budget, _, _ in plan}:
        cohort.with_budget(budget)
    if folder.exists() and any(folder.iterdir()) and not (folder / "rows").is_dir():
        raise ConfigError("the folder is not empty and holds no comparison", where=folder,
                          fix="choose a new folder; nothing was overwritten")
    records, runs = {}, {}
    for budget, seed, name in plan:
        method, run_config = made[name], replace(config, seed=seed)
        drawn = cohort.with_budget("all" if method.uses == "all labels" else budget, seed if draw else None)
        key = json.dumps([name, method.options, run_config.to_dict(), drawn.hash, drawn.split.hash], sort_keys=True)
        tag = hashlib.sha256(key.encode()).hexdigest()[:12]
        record = records[budget, seed, name] = folder / "rows" / f"{name}-{budget}-{seed}-{tag}.csv"
        if not record.exists() or (read_rows(record)["status"] == "failed").any():
            known = {"cohort": cohort.name, "method": name, "budget": budget, "seed": seed, "config": tag,
                     "settings": json.dumps(run_config.to_dict()), "options": json.dumps(method.options)}
            job = (method, run_config, drawn.split, folder / "runs" / f"{name}-{seed}-{tag}", known)
            runs.setdefault(tag, (job, []))[1].append((budget, seed, name))  # the upper bound is one run for all budgets
    told = 0

    def tell(run: tuple[int, int, str], left: str = "") -> None:
        nonlocal told
        told += 1
        say(f"[{told}/{len(plan)}] {made[run[2]].title}, {run[0]} labelled, seed {run[1]}: {headline(read_rows(records[run]))}{left}")

    jobs, serves = [job for job, _ in runs.values()], [keys for _, keys in runs.values()]
    hands = usual_workers(len(jobs)) if workers is None and not dask else min(workers or 0, len(jobs))
    with open_workers(hands, dask if jobs else None, say) as each:
        (folder / "rows").mkdir(parents=True, exist_ok=True)  # a comparison stopped in its first run is still one
        for run in (run for run in plan if not any(run in keys for keys in serves)):
            tell(run)
        started = time.monotonic()
        for done, (i, rows) in enumerate(each(run_one, cohort, jobs), start=1):
            if isinstance(rows, SsltutError):
                rows = failure(rows).assign(seconds=np.nan, **jobs[i][-1], **here)
            left = (time.monotonic() - started) / done * (len(jobs) - done)
            for run in serves[i]:
                write_atomically(records[run], rows.assign(budget=run[0], command=here["command"]).to_csv(index=False))
                tell(run, f"; about {left / 60:.0f} min left" if left > 90 else f"; about {left:.0f} s left")
    rows = pd.concat([read_rows(record) for record in records.values()], ignore_index=True)
    write_atomically(folder / "results.csv", rows.to_csv(index=False))
    return rows


def read_rows(file: Path) -> pd.DataFrame:
    """Rows of ``compare``; ids stay text, so that a case 007 does not become 7."""
    return pd.read_csv(file, dtype={"case": str, "patient": str})


def headline(rows: pd.DataFrame) -> str:
    if (rows["status"] == "failed").any():
        return f"failed: {rows['error'].iloc[0]}"
    mean = rows.groupby("metric")["value"].mean()
    return f"Dice {mean['dice']:.3f}, HD95 {mean['hd95']:.1f} mm"


def patient_values(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Patients x methods: the mean over scans and classes, then over seeds, of one metric. A patient is what is resampled and paired.

    Raises ConfigError for an unknown metric.
    """
    if metric not in HIGHER_IS_BETTER:
        raise ConfigError(f"there is no metric {metric!r}", fix=f"use one of {', '.join(HIGHER_IS_BETTER)}")
    wanted = rows[(rows["metric"] == metric) & (rows["status"] != "failed")]
    per_run = wanted.groupby(["method", "patient", "seed"])["value"].mean()
    return per_run.groupby(["method", "patient"]).mean().unstack("method")


def bootstrap_interval(values: np.ndarray, level: float = 0.95, draws: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over patients; (NaN, NaN) below two values."""
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return float("nan"), float("nan")
    means = values[np.random.default_rng(seed).integers(len(values), size=(draws, len(values)))].mean(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def order_of(methods: Iterable[str]) -> list[str]:
    """Lower bound first, upper bound last, the rest in the order of the method list."""
    return [name for name in METHODS if name in set(methods)]


def summary(rows: pd.DataFrame, metric: str, *, by_class: bool = False) -> pd.DataFrame:
    """One row a budget and method: mean, median, 95 % interval over patients, spread over seeds, scored and missed, failed runs.

    ``by_class`` gives a row for every class, with the column "class", instead of their mean.
    """
    if by_class:
        return pd.concat([summary(rows[(rows["class"] == name) | (rows["status"] == "failed")], metric).assign(**{"class": name})
                          for name in rows["class"].dropna().unique()], ignore_index=True)
    out = []
    for budget, part in rows.groupby("budget"):
        values = patient_values(part, metric)
        for name in order_of(part["method"]):
            of_method = part[part["method"] == name]
            own, means = of_method[of_method["metric"] == metric], values.get(name, pd.Series(dtype=float))
            low, high = bootstrap_interval(means)
            out.append({
                "method": name, "title": METHODS[name].title, "budget": budget, "metric": metric,
                "mean": means.mean(), "median": means.median(),
                "low95": low, "high95": high, "sd over seeds": own.groupby("seed")["value"].mean().std(ddof=1),
                "patients": int(means.notna().sum()), "scored": int(own["status"].isin(["ok", "missed", "invented"]).sum()),
                "missed": int((own["status"] == "missed").sum()), "failed": int((of_method["status"] == "failed").sum())})
    return pd.DataFrame(out)


def by_case(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Every case: budget, case, patient, difficulty and class by methods; the mean over seeds."""
    kept = rows[(rows["metric"] == metric) & (rows["status"] != "failed")]
    names = ["budget", "case", "patient", "difficulty", "class"]
    return kept.groupby([*names, "method"], dropna=False)["value"].mean().unstack("method")[order_of(kept["method"])].reset_index()


def strata(rows: pd.DataFrame, metric: str, bins: int = 6) -> pd.DataFrame:
    """The cases in ``bins`` parts of equal size by difficulty (Xie et al. 2024 test on six): one row a part, budget and method as in ``summary``,
    with part (1 the easiest), easiest, hardest (its range of difficulty) and cases.

    Raises ConfigError when there are fewer cases with a known difficulty than parts.
    """
    known = rows.dropna(subset=["difficulty"])
    hard = known.groupby("case")["difficulty"].first().sort_values(kind="stable")
    if not 1 <= bins <= len(hard):
        raise ConfigError(f"{len(hard)} cases have a known difficulty, for {bins} parts", fix="choose fewer parts, or compare on more cases")
    out = []
    for part, cases in enumerate(np.array_split(hard.index.to_numpy(), bins), start=1):
        out.append(summary(known[known["case"].isin(cases)], metric).assign(
            part=part, easiest=hard[cases].min(), hardest=hard[cases].max(), cases=len(cases)))
    return pd.concat(out, ignore_index=True)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction; NaN stays NaN and does not count."""
    p = np.asarray(p_values, float)
    adjusted = np.full(len(p), np.nan)
    valid = [i for i in np.argsort(p, kind="stable") if not np.isnan(p[i])]
    highest = 0.0
    for rank, i in enumerate(valid):
        highest = max(highest, min(1.0, float(p[i]) * (len(valid) - rank)))
        adjusted[i] = highest
    return adjusted.tolist()


def paired(rows: pd.DataFrame, metric: str, baseline: str = LOWER_BOUND) -> pd.DataFrame:
    """Every other method against ``baseline``, same budget and patients: mean difference, interval, Wilcoxon p, Holm p, wins/ties/losses.

    A positive difference means a higher value of the metric; "wins" counts patients on which the method is better. Holm's correction counts
    every row of the table. Raises ConfigError when the baseline was not run.
    """
    from scipy.stats import wilcoxon

    sign, out = 1.0 if HIGHER_IS_BETTER.get(metric) else -1.0, []
    for budget, part in rows.groupby("budget"):
        values = patient_values(part, metric)
        if baseline not in values:
            raise ConfigError(f"the baseline {baseline!r} has no results with {budget} labelled scans",
                              fix=f"use one of {', '.join(values.columns) or 'the methods that ran'}")
        for name in order_of(values.columns.drop(baseline)):
            difference = (values[name] - values[baseline]).dropna().to_numpy()
            low, high = bootstrap_interval(difference)
            p = float(wilcoxon(difference).pvalue) if np.any(difference) else float("nan")
            out.append({
                "method": name, "title": METHODS[name].title, "budget": budget, "metric": metric,
                "difference": difference.mean() if len(difference) else float("nan"), "low95": low, "high95": high, "p": p,
                "wins": int((sign * difference > 0).sum()), "ties": int((difference == 0).sum()),
                "losses": int((sign * difference < 0).sum())})
    table = pd.DataFrame(out)
    return table.assign(**{"p Holm": holm(table["p"])}) if len(table) else table


def verdict(table: pd.DataFrame, level: float = 0.05) -> str:
    """What a paired table says, in words: which differences hold after correction, or that none does."""
    if table.empty:
        return "Only the baseline was run: there is nothing to compare it with."
    significant = table[table["p Holm"] < level]
    if significant.empty:
        return f"No difference to the baseline holds at p < {level} after Holm's correction: " \
            "on these patients the methods cannot be told apart."
    better = HIGHER_IS_BETTER[table["metric"].iloc[0]]
    words = [f"{row.title} is {'better' if (row.difference > 0) == better else 'worse'} by {abs(row.difference):.3g} "
             f"({row.budget} labelled)"
             for row in significant.itertuples()]
    rest = " The other differences do not hold." if len(significant) < len(table) else ""
    return f"After Holm's correction: {'; '.join(words)}.{rest}"
