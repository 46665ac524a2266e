# %% [markdown]
# # 03 · Uncertainty
#
# The teacher answers at every voxel, also where it is wrong. Does it know where? We ask it five times, and look where its answers differ.
#
# *Minutes at class size on two cores: reading 5, computing 2, exercises 21.*
#
# ## You will be able to
#
# - average the entropy of several passes in two ways, and say what each measures
# - read an uncertainty map: rims and regions
# - choose a threshold and say how many voxels it calls reliable
# - test whether uncertainty finds errors
# - point at errors of which a network is sure
#
# **New words:** [uncertainty](../docs/glossary.md#uncertainty), [Monte Carlo passes](../docs/glossary.md#monte-carlo-passes),
# [dropout](../docs/glossary.md#dropout), [entropy](../docs/glossary.md#entropy), [nats](../docs/glossary.md#nat),
# [rim](../docs/glossary.md#rim), [region](../docs/glossary.md#region), [reliable](../docs/glossary.md#reliable),
# [AUROC](../docs/glossary.md#auroc), [risk-coverage curve](../docs/glossary.md#risk-coverage-curve), [UA-MT](../docs/glossary.md#ua-mt)

# %% tags=["parameters"]
profile = "class"  # "smoke" is for tests, "full" for a GPU
seed = 0
out = ""  # a folder for this notebook's numbers; "" writes none
cohort = ""  # folder of a cohort; "" takes the synthetic hips
bone = False  # True: all classes as one, the task of the paper
retrain = False  # True: train the teacher instead of loading the one that ships

# %%
from dataclasses import replace
from math import log
from pathlib import Path
import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata
from ssltut import make_method, metrics, profile_named, read_cohort, show
from ssltut import synthetic_cohort
from ssltut.data.labels import LabelTable
from ssltut.exercises import check
from ssltut.inspection import embedding_map, uncertainty_map
from ssltut.methods.losses import entropy
from ssltut.methods import uncertainty
from ssltut.training.shipped import trained_run

# %%
P = profile_named(profile)
scans = read_cohort(cohort) if cohort else synthetic_cohort(**P.cohort)
scans = scans.as_bone() if bone else scans
teacher = trained_run(make_method("labels_only"), scans, replace(P.teacher, seed=seed),
                      retrain=retrain)
C, ct = scans.table.n_classes, "bone" if scans.modality == "CT" else None
case = scans.validation()[0]
if profile == "smoke":
    print("Profile smoke: everything runs, but no number below means anything.")

# %% [markdown]
# ## 1. Ask the same network five times
#
# **Why.** Leave dropout on while predicting, and each pass uses a different random part of the network. Where the passes disagree, or are
# torn between classes, do not trust them. This is Monte Carlo dropout (Gal and Ghahramani 2016).
#
# **Look for.** Where do the outlines of the passes differ?

# %%
net, side = teacher.nets["student"], teacher.config.patch[0]
middle = np.argwhere(case.label > 0).mean(0)
starts = np.clip(middle - side / 2, 0, np.subtract(case.image.shape, side)).astype(int)
box = tuple(slice(start, start + side) for start in starts)
x = torch.from_numpy(teacher.intensity.normalise(case.image[box]))[None, None]

from ssltut.data.views import Noise
from ssltut.nets.modes import dropout_on

torch.manual_seed(seed)
with dropout_on(net), torch.no_grad():
    logits = [net(Noise(0.01, m)(x)).logits for m in range(5)]  # faint noise in each
passes = torch.cat(logits).softmax(1)  # (5, C, X, Y, Z)
labels = passes.argmax(1)
several = (labels != labels[0]).any(0).float().mean()
print(f"{several:.1%} of the voxels get more than one label.")

# %%
here = {"image": case.image[box], "spacing": case.spacing, "window": ct}

def one_pass(m):
    return here | {"heat": entropy(passes[m], dim=0).numpy(), "table": scans.table,
                   "contours": {"outline: label": labels[m].byte().numpy()},
                   "heat_max": log(C), "heat_label": "entropy (nats)"}

show.grid({f"pass {m + 1}": one_pass(m) for m in range(4)},
          alt="Four passes over one patch: the entropy of each as heat, and the "
          "outline of its labels, which differs from pass to pass.")

# %% [markdown]
# ### Exercise 1 · write
#
# The entropy $H(p) = -\sum_c p_c \log p_c$ of $M$ passes can be averaged, or taken of the average:
#
# $$\frac{1}{M}\sum_m H(p_m) \quad\text{(Xie et al. 2024)}\qquad H\Big(\frac{1}{M}\sum_m p_m\Big) \quad\text{(UA-MT)}$$
#
# <details><summary>Hint</summary>What comes first, the entropy or the mean? And the logarithm of 0 is not finite: keep p above 0.</details>
# <details><summary>What it should look like</summary>
#
# ![Three maps of one patch: the mean of entropies and the entropy of the mean glow along the bones; their difference is dark.](figures/03_two_entropies.png)
#
# Two maps of the patch's size. The second is never smaller; the difference is what the passes disagree about.
#
# </details>

# %% tags=["solution"]
def two_entropies(passes):
    """Mean of the entropies and entropy of the mean, (X, Y, Z), of (M, C, X, Y, Z)."""
    # >>> solution: compute both maps
    def h(p, axis):
        return -(p * p.clamp(min=1e-30).log()).sum(axis)

    return h(passes, 1).mean(0), h(passes.mean(0), 0)
    # <<< solution

# %% tags=["check"]
with check("1"):
    torn = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).reshape(2, 2, 1, 1, 1)
    first, second = two_entropies(torn)
    assert first.isfinite().all(), "not finite: 0 log 0 is 0, but log 0 is not"
    assert first.shape == (1, 1, 1), "sum over classes, then average over passes"
    assert abs(first.item()) < 1e-6, (
        "first the mean of the entropies: of two sure passes it is 0. Swapped?")
    assert abs(second.item() - log(2)) < 1e-6, (
        "the mean of the passes is (1/2, 1/2); its entropy is ln 2, in nats")
    first, second = two_entropies(torch.full((3, 2, 1, 1, 1), 0.5))
    assert abs(first.item() - log(2)) < 1e-6, (
        "three passes (1/2, 1/2) give ln 2: sum over classes, axis 1, not over passes")
    first, second = two_entropies(passes)
    assert (second - first).min() > -1e-5, "the second map is never smaller"

# %% [markdown]
# ## 2. Rims and regions
#
# **Why.** A border between two classes is always uncertain, in a thin rim. It is news when a whole *region* is uncertain: the network has not
# seen anything like it. A mean over 7 x 7 x 7 voxels removes the rims.
#
# **Look for.** Which of the two maps looks more like the errors?

# %%
every = uncertainty_map(teacher, case, seed=seed)
h = every.mean_of_entropies
answer = every.probabilities.argmax(0)
wrong = answer != case.label
region = uncertainty.regional_mean(torch.from_numpy(h)[None], 7)[0].numpy()
at = show.densest(region, case.label)
whole = {"image": case.image, "spacing": case.spacing, "window": ct, "at": at}
maps = {"entropy of a voxel": h, "mean over 7 x 7 x 7": region}
scale = {"heat_max": float(h.max()), "heat_label": "entropy (nats)"}
panels = {name: whole | {"heat": found} | scale for name, found in maps.items()}
flags = LabelTable("flags", ("", "wrong"), ("#000000", "#D55E00"))
panels["errors"] = whole | {"overlay": wrong.astype(np.uint8), "table": flags}
show.grid(panels, columns=3, alt=f"One slice of {case.id} three times: entropy of "
          "each voxel, its mean over a region, and the errors.")

# %%
in_region = region >= 0.25 * log(C)
rest = (h >= np.quantile(h, 0.95)) & ~in_region
for name, part in {"regions": in_region, "rims (5 % most uncertain)": rest}.items():
    right = (~wrong[part]).mean() if part.any() else float("nan")
    print(f"{name}: {part.sum():,} voxels, {right:.0%} of them right")
there = wrong[in_region].sum() / max(wrong.sum(), 1)
print(f"{there:.0%} of all errors lie in regions.")
painted = LabelTable("", (*scans.table.names, "uncertain region"),
                     (*scans.table.colours, "#CC79A7"))
show.volume(h, spacing=case.spacing, table=painted, shows="largest entropy (nats)",
            label_image=np.where(in_region, C, case.label).astype(np.uint8),
            alt="Left: the largest entropy along each line of sight. Right: the true "
            "bones with the uncertain regions painted on.")

# %% [markdown]
# **So.** Regions are wrong more often than rims. This one is the femur that is called hip bone.
#
# ## 3. Choose a threshold
#
# **Why.** Embedding matching asks yes or no: may this voxel take the teacher's label? As published, the threshold λ rises from 0.75 ln 2 to
# ln 2 during training. A *quantile* fixes the share of unreliable voxels instead.
#
# With three classes, one could also compare with ln 3. But at a border $p = (½, ½, 0)$, and its entropy, ln 2, is below 0.75 ln 3: no border
# would be unreliable. Our code compares the two most probable classes with ln 2.

# %%
u = uncertainty_map(teacher, case, seed=seed, classes="two").mean_of_entropies
cuts = {"published, start": uncertainty.published_threshold(0, C, "two"),
        "published, at 3/4": uncertainty.published_threshold(0.75, C, "two"),
        "5 % quantile": uncertainty.quantile_threshold(torch.from_numpy(u), 0.05)}
unreliable = LabelTable("", ("reliable", "unreliable"), ("#000000", "#CC79A7"))
panels = {f"{name}: {value:.2f}": whole | {"overlay": (u >= value).astype(np.uint8),
          "table": unreliable} for name, value in cuts.items()}
for name, value in cuts.items():
    print(f"{name}, {value:.3f} nats: {(u >= value).mean():.2%} of the scan unreliable")
show.grid(panels, columns=3, alt="Unreliable voxels of one slice under three "
          "thresholds; the shares of the whole scan are printed above.")

# %% [markdown]
# **So.** Late in training almost nothing is unreliable under the published threshold.
#
# ## 4. Does uncertainty find errors?
#
# **Why.** AUROC is the probability that a wrong voxel has a higher entropy than a right one: 0.5 is guessing, 1 is perfect.
#
# ### Exercise 2 · predict
#
# Over whole scans AUROC is high. Count only voxels within 2 voxels of a true surface: is it "higher", "the same" or "lower"?
#
# <details><summary>Hint</summary>Which easy pairs of a wrong and a right voxel drop out?</details>
# <details><summary>What it should look like</summary>One word; the table below has the numbers.</details>

# %% tags=["solution"]
# >>> solution: "higher", "the same" or "lower"
near_surface = "lower"
# <<< solution

# %% tags=["check"]
with check("2"):
    words = ("higher", "the same", "lower")
    assert near_surface in words, f"write one of {words}"
    assert near_surface != "higher", (
        "near a surface right voxels are uncertain too: is that easier?")
    assert near_surface != "the same", (
        "air far from bone is right and certain, an easy pair with any wrong voxel")

# %%
from ssltut.methods.matching.primitives import surface_shell

coverage, curves, rows = np.linspace(0.8, 1, 41), [], []
for name in [*scans.split.validation, *scans.known_unlabelled()][:6]:
    one = scans.case(name)
    v = uncertainty_map(teacher, one, seed=seed, classes="two")
    doubt, error = v.mean_of_entropies, v.probabilities.argmax(0) != one.label
    near = surface_shell(torch.from_numpy(one.label)[None], 2)[0].numpy()
    rows.append({"scan": one.id, "error rate": error.mean(),
                 "AUROC": metrics.auroc(doubt, error),
                 "AUROC near a surface": metrics.auroc(doubt[near], error[near])})
    kept = [metrics.risk_at_coverage(by, error, coverage) for by in (doubt, error)]
    curves.append([kept[0], np.full(41, error.mean()), kept[1]])
    print(f"{one.id}: AUROC {rows[-1]['AUROC']:.3f}")
found = pd.DataFrame(rows).set_index("scan")
found.agg(["mean", "std", "min", "max"]).round(3)

# %% [markdown]
# **Look for.** Keep only the most certain voxels: how many errors remain? The *oracle* drops the wrong voxels first; *random* drops any.

# %%
risks = dict(zip(("entropy", "random", "oracle"), np.mean(curves, axis=0)))
show.risk_coverage(coverage, risks, title=f"Mean of {len(found)} scans",
                   alt="Error rate against the share of voxels kept: random stays "
                   f"level; at .95, entropy leaves {risks['entropy'][30]:.4f}, "
                   f"the oracle {risks['oracle'][30]:.4f}.")

# %% [markdown]
# ### Exercise 3 · repair
#
# With ranks $r_i$ of the $n$ wrong among $N$ voxels, $\mathrm{AUROC} = \big(\sum_i r_i - n(n+1)/2\big) / \big(n(N-n)\big)$. The function is
# wrong in two places.
#
# <details><summary>Hint</summary>Count the pairs of the formula. And compare what the function calls ranks with rankdata, imported
# above.</details>
# <details><summary>What it should look like</summary>1 when all wrong voxels are more uncertain, 0.5 when all are equal.</details>

# %% tags=["solution"]
def my_auroc(score, positive):
    """Probability that a positive scores higher than a negative; ties count 1/2."""
    # >>> solution: repair the ranks and the number of pairs
    #| ranks, n = score.argsort() + 1, positive.sum()
    #| pairs = n * len(score)
    ranks, n = rankdata(score), positive.sum()
    pairs = n * (len(score) - n)
    # <<< solution
    return (ranks[positive].sum() - n * (n + 1) / 2) / pairs

# %% tags=["check"]
with check("3"):
    yes = np.array([False, False, True, True])
    assert my_auroc(np.array([1, 2, 3, 4]), yes) == 1, (
        "two positives above two negatives give 1: pair positives with negatives only")
    assert my_auroc(np.array([1, 3, 4, 2]), yes) == 0.75, (
        "3 of 4 pairs are in order: argsort says which voxel comes first, not its rank")
    assert my_auroc(np.array([5, 5, 5, 5]), yes) == 0.5, (
        "all equal is guessing, 0.5: equal scores share the mean of their ranks")

# %% [markdown]
# ## 5. Move the threshold, and look inside
#
# **Look for.** Blue: unsure and wrong (good warning). Yellow: unsure but right (false alarm). Orange: sure but wrong (missed error). In
# JupyterLab, mark half of all errors: how many alarms are false?

# %%
near = surface_shell(torch.from_numpy(case.label)[None], 2)[0].numpy()
show.explore_uncertainty(
    case.image, u, spacing=case.spacing, wrong=wrong, where=near, table=scans.table,
    threshold=cuts["5 % quantile"], window=ct, at=at,
    layers={"prediction": answer.astype(np.uint8), "truth": case.label, "error": wrong},
    alt=f"Scan {case.id} in three planes: unreliable voxels, right and wrong, and "
    "errors called reliable; below, the risk-coverage curve near a surface.")

# %% [markdown]
# Each voxel also has an *embedding*, the numbers behind its label. Notebook 04 compares these.
#
# **Look for.** Do unreliable voxels lie between the classes or inside one?

# %%
rng, vectors = np.random.default_rng(seed), embedding_map(teacher, case)
of_class = [np.argwhere(near & (case.label == c)) for c in range(C)]
places = np.concatenate([rng.permutation(some)[:250] for some in of_class])
spot = tuple(places.T)
show.explore_embeddings(
    vectors[(slice(None), *spot)].T.numpy(), places, case.image, spacing=case.spacing,
    classes=case.label[spot], reliable=u[spot] < cuts["5 % quantile"],
    right=~wrong[spot], table=scans.table, window=ct, seed=seed,
    layers={"truth": case.label, "error": wrong},
    alt="Embeddings of voxels near a surface in two dimensions, three times: by true "
    "class, by reliability, by right or wrong.")

# %% [markdown]
# ## 6. Sure, and wrong
#
# **Why.** A threshold can only find errors that the network doubts. Three hips differ in one thing. The paper names the last two as its
# limits.
#
# **Look for.** In the lower row, are the errors thin rims or thick pieces?

# %%
from ssltut.synthetic.anatomy import Pathology
from ssltut.synthetic.hip import make_case

kinds = {"healthy": Pathology(), "narrow joint": Pathology(osteoarthritis=1.0),
         "nail": Pathology(implant=True)}

def sure_and_unsure(hip):
    v = uncertainty_map(teacher, hip, seed=seed, classes="two")
    error = v.probabilities.argmax(0) != np.minimum(hip.label, C - 1)
    doubt = v.mean_of_entropies
    flagged = doubt >= uncertainty.quantile_threshold(torch.from_numpy(doubt), 0.05)
    return error & flagged, error & ~flagged

# %%
doubted, missed, rows = {}, {}, []
for name, kind in kinds.items() if not cohort else ():
    hip = make_case(1000 + seed, size=P.size, pathology=kind)
    found_errors, sure = sure_and_unsure(hip)
    base = {"image": hip.image, "spacing": hip.spacing, "table": flags,
            "at": show.densest(found_errors | sure, hip.label)}
    doubted[f"{name}: doubted"] = base | {"overlay": found_errors.astype(np.uint8)}
    missed[f"{name}: sure"] = base | {"overlay": sure.astype(np.uint8)}
    share = sure.sum() / max((sure | found_errors).sum(), 1)
    rows.append((f"sure errors, {name}", share, "1"))
    print(f"{name}: {share:.0%} of the errors are not among the 5 % most uncertain.")
show.grid(doubted | missed, columns=3, alt="Three hips: healthy, narrow joint, nail. "
          "Above, errors that uncertainty finds; below, errors of which the network is "
          "sure.") if doubted else None

# %%
numbers = [(name, found[name].mean(), "1") for name in found.columns] + rows
if out:
    Path(out).mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(numbers, columns=["quantity", "value", "unit"])
    frame.assign(seed=seed).to_csv(Path(out) / "03_uncertainty_maps.csv", index=False)

# %% tags=["instructor"]
# Before the table of exercise 2: who bets on more than 0.9 near a surface? Then ask
# which of the two columns a paper would print.

# %% [markdown]
# **So.** Beside the nail a third of the errors are sure, and thick. The narrow joint costs this teacher only rims.
#
# ### Question 1
#
# Each of five passes is sure, but two name another class than the rest. What do the two measures say?
#
# - A: both are 0
# - B: the mean of the entropies is 0, the entropy of the mean is not
# - C: the entropy of the mean is 0, the mean of the entropies is not
# - D: both are large
#
# <details><summary>Answer</summary>B. A overlooks that averaging passes mixes the classes. C swaps the two. D takes disagreement for
# doubt within a pass, which the first measures.</details>
#
# ### Question 2
#
# A map has AUROC 0.98 over whole scans. What follows?
#
# - A: 98 % of the voxels are right
# - B: a threshold finds 98 % of the errors
# - C: most wrong voxels are more uncertain than most right ones, many of which are easy
# - D: the network can be trusted on other scans
#
# <details><summary>Answer</summary>C. A confuses ranking with accuracy; B forgets that a threshold also raises false alarms; D is not
# measured at all.</details>
#
# ## You can now
#
# - average the entropy of several passes in two ways, and say what each measures: doubt within the passes, and with their disagreement
# - read an uncertainty map: rims and regions
# - choose a threshold and say how many voxels it calls reliable: in nats, or as a quantile
# - test whether uncertainty finds errors: AUROC, near a surface too, and a risk-coverage curve
# - point at errors of which a network is sure: wrong, and below the threshold
#
# **In the code:** [uncertainty.py](../ssltut/methods/uncertainty.py) (H and λ: steps 1 and 2 of the paper),
# [maps.py](../ssltut/inspection/maps.py), [metrics.py](../ssltut/metrics.py)
#
# **Sources:** [Xie et al. 2024](https://arxiv.org/abs/2407.04638), [Gal and Ghahramani 2016](https://arxiv.org/abs/1506.02142),
# [UA-MT, Yu et al. 2019](https://arxiv.org/abs/1907.07034)
