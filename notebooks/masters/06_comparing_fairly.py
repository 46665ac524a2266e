# %% [markdown]
# # 06 · Comparing fairly
#
# One method is .01 better than another. Is that the method, or the four scans that happen to
# be labelled? Finished results are read; nothing is trained.
#
# *Minutes at class size on two cores: reading 5, computing 1, exercises 21.*

# %% [markdown]
# ## You will be able to
#
# - say what both bounds and the control are for
# - test a gain with the label draw as the unit
# - correct for many tests, and say how many draws they need
# - notice a metric at its ceiling, and misses that were left out
# - write a sentence that claims no more than its interval
#
# **New words:** [bound](../docs/glossary.md#bound), [control](../docs/glossary.md#control),
# [draw](../docs/glossary.md#draw), [interval](../docs/glossary.md#interval),
# [p-value](../docs/glossary.md#p-value),
# [sign-flip test](../docs/glossary.md#sign-flip-test), [Holm](../docs/glossary.md#holm)

# %% tags=["parameters"]
profile = "class"  # nothing is trained here: every profile reads the same results
seed = 0
out = ""  # folder for the numbers as CSV; "" writes none
results = ""  # results.csv of your own "ssltut compare"; "" takes the project's

# %%
from itertools import product
from pathlib import Path
from textwrap import fill

import numpy as np
import pandas as pd

from scipy.stats import ttest_1samp

from ssltut import show
from ssltut.evaluation.record import read_rows, record_file, recorded
from ssltut.evaluation.statistics import paired, run_values, summary, verdict
from ssltut.exercises import check
from ssltut.methods.registry import title_of

# %% [markdown]
# ## 1. The same for everyone
#
# **Why.** All methods have the same scans, labels, steps, patches a step and network: else
# a difference may come from there. Three rows are no methods:
#
# - *labels only*, the lower [bound](../docs/glossary.md#bound), ignores unlabelled scans;
# - *all labels*, the upper bound, knows what the others must guess;
# - *labels only, same batch*, the [control](../docs/glossary.md#control), has unlabelled
#   patches in its batch ([batch norm](../docs/glossary.md#batch-norm) averages over them)
#   and in no loss. Gains are measured **from here**.

# %%
STUDIES = ("synthetic_bench_bone_2400", "synthetic_class", "bones", "bone")
tables = {}
for name in STUDIES:
    if record_file(name).is_file():
        tables[name] = recorded(name).query("budget == 4")
    else:
        print(f"There are no results of {name!r} yet.")
if results:
    tables = {"yours": read_rows(results)}
done = {n: t[t.method == "mean_teacher"].seed.nunique() for n, t in tables.items()}
enough = [name for name in tables if done[name] > 2]
chosen = (enough or list(tables))[-1]
rows = tables[chosen]
print(f"{chosen}: {rows.method.nunique()} methods, {rows.seed.nunique()} draws, "
      f"{rows.patient.nunique()} test patients")

# %% [markdown]
# ### Question 1
#
# A method is .03 better than *labels only*. So is the control. What follows?
#
# - A. The method works; the control confirms it.
# - B. Batch norm helped; the method's loss added nothing.
# - C. The control has a bug: it has no unlabelled loss.
# - D. Nothing: these rows cannot be compared.
#
# <details><summary>Answers</summary>
#
# - A takes the control for a witness. It shows what happens *without* the loss.
# - **B** is right: method minus control is 0.
# - C forgets that a batch acts without a loss.
# - D forgets that all rows share scans and labels.
#
# </details>
#
# ## 2. The table
#
# **Why.** A mean hides how far it would move with other labelled scans and patients.
# [Dice](../docs/glossary.md#dice) is an overlap, [HD95](../docs/glossary.md#hd95) a
# distance in mm.

# %%
means = {metric: summary(rows, metric) for metric in ("dice", "hd95")}
columns = ["title", "fidelity", "mean", "low95", "high95", "draws", "missed", "failed"]
means["dice"][columns].round(3)

# %% [markdown]
# **Look for.** The two bounds: how much room is there for a method?

# %%
both = pd.concat(means.values()).rename(columns={"low95": "low", "high95": "high"})
said = ", ".join(f"{r.title} {r['mean']:.3f}" for _, r in means["dice"].iterrows())
show.intervals(
    both.assign(method=both.title),
    bounds=(title_of("labels_only"), title_of("all_labels")),
    titles={"dice": "Dice (right is better)", "hd95": "HD95, mm (left is better)"},
    alt=f"Mean and 95 % interval of every method. Mean Dice: {said}.",
)

# %% [markdown]
# **So.** Methods whose intervals overlap need not be equal: a hard patient is hard for both.
# Compare on the same patient and draw.
#
# ## 3. What is the unit?
#
# **Why.** Would it come out again, with other labelled scans and another training? Sixty
# patients scored by one network are one training, not sixty.
#
# Without a gain, the sign of a draw's difference is a coin. Try all `2**D` signs of $D$
# draws: p is the share whose mean is at least as far from 0 as yours.
#
# ### Exercise 1 · write
#
# Write this p.
#
# <details><summary>Hint</summary>
#
# `product((1, -1), repeat=3)` gives the eight signs of three draws. "Far" has two sides. A
# mean that is 1e-12 nearer to 0 counts: that is rounding.
#
# </details>
# <details><summary>What it should look like</summary>
#
# ![Three draws of .02 under all signs: of 8 means, +++ and --- are as far from 0, so p is 0.25.](figures/06_eight_signs.png)
#
# </details>

# %% tags=["solution"]
def flip_p(draws: np.ndarray) -> float:
    """Two-sided p of the differences of D draws, over all signs."""
    # >>> solution: all signs, their means, the share that lies as far from 0 as yours
    signs = np.array(list(product((1, -1), repeat=len(draws))))
    flipped = np.abs((signs * draws).mean(axis=1))
    return float((flipped >= abs(draws.mean()) - 1e-12).mean())
    # <<< solution

# %% tags=["check"]
from ssltut.evaluation.draws import sign_flip_p

with check("1"):
    three = flip_p(np.array([0.02, 0.02, 0.02]))
    assert three != 0.125, "0.125 counts one side only: --- is as far from 0 as +++"
    assert three is not None, "nothing comes back: is a return missing?"
    assert three != 0, "p is never 0: +++ itself counts (>=), and each of 8 has a mean"
    assert three == 0.25, f"three draws of 0.02 have p = 0.25, yours is {three}"
    for five in np.random.default_rng(0).normal(0.01, 0.02, (20, 5)):
        mine, right = flip_p(five), sign_flip_p(five)
        assert np.isclose(mine, right), f"of {five.round(3)} p is {right}, not {mine}"

# %% [markdown]
# Now make up a method that gains **nothing**, many times, with the spread of mean teacher.
# How often is p below .05? In an honest test, in at most 5 % of cases.

# %%
values = run_values(rows, "dice")
seen = (values["mean_teacher"] - values["same_batch"]).unstack("patient")
between = seen.mean(axis=1).std()
within = seen.sub(seen.mean(axis=1), axis=0).stack().std()
rng, numbers = np.random.default_rng(seed), [3, 5, 7, 9, 11]
alarms = {"patients": [], "draws": []}
for n in numbers:
    p = {"patients": [], "draws": []}
    for _ in range(400):
        useless = rng.normal(0, between, (n, 1))
        useless = useless + rng.normal(0, within, (n, seen.shape[1]))
        p["patients"].append(ttest_1samp(useless.mean(axis=0), 0).pvalue)
        p["draws"].append(sign_flip_p(useless.mean(axis=1)))
    for unit, rates in alarms.items():
        rates.append(float(np.mean(np.array(p[unit]) < 0.05)))

# %%
last = ", ".join(f"{unit} {rates[-1]:.2f}" for unit, rates in alarms.items())
print(f"Spread between draws {between:.4f} Dice, within a draw {within:.4f}.")
show.lines(
    numbers, {f"unit: {unit}": rates for unit, rates in alarms.items()},
    xlabel="label draws", ylabel="share of false alarms",
    title="A method that gains nothing: how often is p < .05?",
    alt=f"Share of false alarms against the number of draws. With 11 draws: {last}.",
)

# %% [markdown]
# **So.** A test over patients does not see that draws vary, so it raises false alarms. With
# few draws the honest test is silent, whatever happens. How many does it need?
#
# ### Exercise 2 · predict
#
# Predict the smallest p of 3 draws, and the fewest draws with which p can be below .05 when
# 6 methods are tested (the smallest p is then multiplied by 6).
#
# <details><summary>Hint</summary>
#
# "All signs equal" comes twice. Each draw doubles the choices.
#
# </details>
# <details><summary>What it should look like</summary>
#
# A number of the form 2/2^n, and an n below 10.
#
# </details>

# %% tags=["solution"]
# >>> solution: the smallest p of 3 draws, and the draws that 6 tests need
p3 = 0.25
n = 8
# <<< solution

# %% tags=["check"]
with check("2"):
    assert p3 is not ... and n is not ..., "put a number in the place of each ..."
    assert p3 != 0.125, "0.125 is one of 8 signs; the test has two sides"
    assert p3 == 2 / 2**3, f"{p3}: count the extreme ones among all 8 signs"
    assert n != 6, "6 draws do for one test (0.031); six tests multiply it by 6"
    assert 6 * 2 / 2**n < 0.05, f"with {n} draws it is 6 x {2 / 2**n:.3f}"
    assert 6 * 2 / 2 ** (n - 1) >= 0.05, f"{n} draws are more than needed"

# %% [markdown]
# ## 4. Paired, and corrected
#
# **Why.** Of twenty useless methods, one "works" at .05. [Holm](../docs/glossary.md#holm)
# multiplies the smallest of m p-values by m, the next by m - 1, and so on.

# %%
tests = {metric: paired(rows, metric) for metric in ("dice", "hd95")}
columns = ["title", "difference", "low95", "high95", "p", "p Holm"]
tests["dice"][[*columns, "draws", "draws better"]].round(3)

# %% [markdown]
# **Look for.** A point is a draw: on which side of the control does it lie?

# %%
runs = values.groupby("seed").mean()
gains = runs.sub(runs["same_batch"], axis=0).drop(columns="same_batch")
gains = gains[gains.mean().sort_values(ascending=False).index]
said = ", ".join(f"{title_of(name)} {gains[name].mean():+.3f}" for name in gains)
show.paired_strip(
    {title_of(name): gains[name] for name in gains},
    xlabel="Dice minus the control (right is better)",
    alt=f"A point per draw: Dice of each method minus the control. Means: {said}.",
)

# %% [markdown]
# ## 5. Ceilings and misses
#
# **Why.** On a grid of voxels, HD95 is 0 or at least one voxel. Where most values are just
# one voxel, methods are *tied*, and a few patients make the mean.

# %%
same = []
for name, part in tables.items():
    for metric in ("dice", "hd95"):
        found = part[(part.metric == metric) & part.value.notna()].value.round(3)
        common = found.mode()[0]
        same.append({"results": name, "metric": metric, "commonest value": common,
                     "share": (found == common).mean(),
                     "ties with the control": paired(part, metric).ties.mean()})
pd.DataFrame(same).round(3)

# %% [markdown]
# **So.** Beside a metric at its ceiling put one that is not, such as Dice or
# [surface Dice](../docs/glossary.md#surface-dice).
#
# ### Exercise 3 · repair
#
# A missed structure gets the diagonal of the scan as HD95. This function leaves it out, so a
# method gets better by failing. Repair it, and count the misses.
#
# <details><summary>Hint</summary>
#
# `ok`, `missed` and `invented` count, `both_empty` (neither present nor found) and `failed` do
# not.
#
# </details>
# <details><summary>What it should look like</summary>
#
# | | mean | missed |
# |---|---|---|
# | careful | 5.0 | 0 |
# | careless | 64.0 | 1 |
#
# </details>

# %% tags=["solution"]
def honest(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and number of misses of each method, nothing left out that counts."""
    # >>> solution: keep the three statuses that count, and count the misses
    #| kept = rows[rows.status == "ok"]
    #| misses = 0
    #| means = kept.groupby("method").value.mean()
    #| return pd.DataFrame({"mean": means, "missed": misses})
    kept = rows[rows.status.isin(["ok", "missed", "invented"])]
    misses = (kept.status == "missed").groupby(kept.method).sum()
    means = kept.groupby("method").value.mean()
    return pd.DataFrame({"mean": means, "missed": misses})
    # <<< solution

# %% tags=["check"]
rows_of = [("careful", 5.0, "ok")] * 3 + [("careless", 3.0, "ok")] * 2
rows_of += [("careless", 150.0, "missed"), ("careless", 100.0, "invented")]
rows_of += [("careless", 0.0, "both_empty")]
few = pd.DataFrame(rows_of, columns=["method", "value", "status"])
with check("3"):
    mean, missed = (honest(few)[name] for name in ("mean", "missed"))
    mine = round(mean["careless"], 1)
    assert mine != 3, "3.0 mm: the miss is still left out"
    assert mine != 51.2, "51.2 mm: both_empty is no success, leave it out"
    assert mine != 52, "52.0 mm: what was invented counts too"
    assert mine == 64, f"the mean is 64.0 mm, yours is {mine}"
    assert missed["careless"] == 1, f"1 was missed, you count {missed['careless']}"
    assert missed["careful"] == 0, "careful missed nothing: count for each method"

# %% [markdown]
# ## 6. The lucky draw
#
# **Why.** How much does it flatter to print the best of a few runs?

# %%
luck = (runs.max() - runs.mean()).rename(title_of).sort_values()
print(f"The best of {len(runs)} draws is {luck.mean():.3f} Dice above the mean; "
      f"most for {luck.index[-1]}: {luck.iloc[-1]:.3f}.")
rest = runs.drop(columns="labels_only")
bound = runs["labels_only"].mean()
print(f"Of {rest.shape[1]} other rows, {(rest.mean() > bound).sum()} are above the "
      f"mean of labels only, and {(rest.max() > bound).sum()} with their best draw.")

# %% [markdown]
# ## 7. What came out
#
# **Why.** These sentences are written from the tables of today.

# %%
for name, part in tables.items():
    found = part.status.value_counts()
    print(f"{name}: {part.seed.nunique()} draws, {part.patient.nunique()} patients, "
          f"{found.get('failed', 0)} failed, {found.get('missed', 0)} missed")
    for metric in ("dice", "hd95"):
        print(fill(f"{metric}: {verdict(paired(part, metric))}", 88))
if out:
    units = {"dice": "1", "hd95": "mm"}
    frames = [table.assign(quantity=f"{metric} " + table.method, unit=units[metric])
              for metric, table in means.items()]
    numbers = pd.concat(frames).rename(columns={"mean": "value"}).assign(seed=seed)
    kept = ["quantity", "value", "unit", "seed", "low95", "high95", "draws"]
    Path(out).mkdir(parents=True, exist_ok=True)
    numbers[kept].to_csv(Path(out) / "06_comparing_fairly.csv", index=False)

# %% [markdown]
# ### Question 2
#
# The difference to the control is .004, interval -.010 to .018, p = .5. What may you write?
#
# - A. The methods are equal.
# - B. The method is .004 better.
# - C. A gain above .018 is unlikely; whether there is one, these draws cannot say.
# - D. The method failed.
#
# <details><summary>Answers</summary>
#
# - A takes "not shown" for "shown to be zero".
# - B claims more than the interval, which contains losses too.
# - **C** is right: the interval says what is excluded.
# - D takes a small experiment for a bad method.
#
# </details>

# %% [markdown]
# ## You can now
#
# - say what both bounds and the control are for: room, batch norm
# - test a gain with the label draw as the unit: sign flips
# - correct for many tests, and say how many draws they need: 8 for six
# - notice a metric at its ceiling, and misses that were left out: ties
# - write a sentence that claims no more than its interval: `verdict`
#
# **In the code:** [statistics](../ssltut/evaluation/statistics.py),
# [draws](../ssltut/evaluation/draws.py), [control](../ssltut/methods/classic/supervised.py),
# [`ssltut compare`](../ssltut/evaluation/compare.py). History:
# [old results](../docs/results-archive.md)
#
# **Sources:** [sign flips](https://doi.org/10.1016/j.neuroimage.2014.01.060),
# [intervals](https://doi.org/10.2307/3002019), [Holm](https://doi.org/10.2307/4615733),
# [metrics](https://doi.org/10.1038/s41592-023-02151-z)
