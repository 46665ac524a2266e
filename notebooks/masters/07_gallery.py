# %% [markdown]
# # 07 · A gallery of methods
#
# Eleven further methods, a page each, on one scan: what a method perturbs, matches, mixes or weighs, drawn from the functions its loss calls.
#
# After this notebook **you will be able to**
# - explain each of eleven methods by its one idea
# - read its term in code and point at the same thing in its picture
# - compute a self-paced weight and fuse two opinions by hand
# - place all methods by the ideas they use and what a step of each costs
#
# *About 10 minutes on two CPU cores; runs are kept, so a second visit takes a minute. Needs notebook 02's words; 06 says what a fair comparison is, and
# this is none.*

# %% tags=["parameters"]
profile = "class"  # smoke (seconds, numbers without meaning), class (a laptop) or full (a GPU, the paper's size)
seed = 0
out = ""  # folder for the numbers as CSV; "" writes none
cohort = ""  # folder of a cohort; "" takes the synthetic hips
bone = False  # True: all classes as one; for hips bone against rest, the task of the paper

# %%
import sys
if "google.colab" in sys.modules:
    # %pip install -q ssltut

# %%
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ssltut import profile_named, read_cohort, show, synthetic_cohort
from ssltut import gallery
from ssltut.evaluation.record import COSTS, recorded
from ssltut.methods.contract import FIDELITIES, IDEAS
from ssltut.methods.registry import METHODS

P = profile_named(profile)
scans = read_cohort(Path(cohort)) if cohort else synthetic_cohort(**P.cohort)
scans = scans.as_bone() if bone else scans

# %%
book = gallery.open_gallery(scans, gallery.short(P.train, seed))
if profile == "smoke":
    print("Profile smoke: everything runs, but no picture and no number below means anything.")
show.planes(**book.scan(), title="The scan of every page, unlabelled to all methods",
            alt="The scan that every page shows, in three planes, with its true structures outlined.")

# %% [markdown]
# Every page trains one method as mean teacher was trained just now: same seed, scans and steps. That is short, and the two rows of its table
# come from few validation scans: they tell that a method learns, not that it wins.
#
# ## 1. RPG: ask the labelled voxels
#
# Every unlabelled voxel takes the label of the labelled voxels that look most like it. What the network thinks of the voxel is not asked, so
# it cannot confirm itself.
#
# *Published:* abstract and a caption. *Ours:* features, distance, thinning, thresholds.

# %%
rpg = book.page("rpg")
rpg.picture()

# %%
rpg.term()

# %%
rpg.result()

# %% [markdown]
# *Something to try:* `book.page("rpg", neighbours=1)`. Why does agreement mean nothing then?
#
# ## 2. SS-Net: the worst small change
#
# The smallest change that hurts most must not hurt. And every voxel must lie near the best of its class, which a memory keeps.
#
# *Published:* paper and code. *Ours:* a length of the change that fits any patch.

# %%
ss_net = book.page("ss_net")
ss_net.picture()

# %%
ss_net.term()

# %%
ss_net.result()

# %% [markdown]
# *Something to try:* `radius=0.1`. Which voxels give way first?
#
# ## 3. VerSemi: one network, several questions
#
# Scans in which only some classes are labelled teach one network that is told which class to draw. "Any bone" ties the answers together:
# it must be their union.
#
# *Published:* paper and code. *Ours:* where a class may hide, nothing is learnt.

# %%
versemi = book.page("versemi")
versemi.picture()

# %%
versemi.term()

# %%
versemi.result()

# %% [markdown]
# *Something to try:* `union="labelled"`, as published. What does the pink area learn then?
#
# ## 4. Self-paced contrast: easy pairs first
#
# Patches from the same height of the body should look alike to the encoder. Such labels are noisy, so pairs that are already close count
# first.
#
# *Published:* paper and code. *Ours:* body side in place of the cardiac phase.

# %%
self_paced = book.page("self_paced")
self_paced.picture()

# %%
self_paced.term()

# %%
self_paced.result()

# %% [markdown]
# *Something to try:* `weights="hard"`. What happens to the slope?
#
# ### Exercise 1: the weight in closed form
#
# The weight of a pair with loss $\ell$ minimises $w\ell + \gamma(w^2/2 - w)$ over $0 \le w \le 1$. Set the derivative to zero.

# %% tags=["solution"]
def pair_weight(loss: torch.Tensor, age: float) -> torch.Tensor:
    """The best weight of each loss at γ = ``age``."""
    # >>> solution: solve loss + age (w - 1) = 0 for w, and keep it between 0 and 1
    return (1 - loss / age).clamp(0, 1)
    # <<< solution

# %% tags=["check"]
from ssltut.methods.further.self_paced import self_paced_weights

losses, w = torch.linspace(0, 12, 25), torch.linspace(0, 1, 1001)
by_search = torch.stack([w[(w * loss + 5 * (w**2 / 2 - w)).argmin()] for loss in losses])
assert torch.allclose(pair_weight(losses, 5.0), by_search, atol=1e-3), "a search over all weights finds others"
assert torch.allclose(pair_weight(losses, 5.0), self_paced_weights(losses, 5.0, "linear"))
print(f"Right. At γ = 5, {int((by_search == 0).sum())} of {len(losses)} losses from 0 to 12 are too hard to count.")

# %% [markdown]
# ## 5. M&N: taking turns
#
# A 2D and a 3D network learn from each other's soft masks, in turns, one frozen at a time. Unlabelled patches come in as the learning
# rate falls.
#
# *Published:* paper, with a network pre-trained on photographs. *Ours:* any 2D network, random here.

# %%
mn = book.page("mn")
mn.picture()

# %%
mn.term()

# %%
mn.result()

# %% [markdown]
# *Something to try:* `turn=1`. Which mistakes do both share?
#
# ## 6. ERSR: a head is round
#
# A shape is fitted to the teacher's mask and repairs it. Then the halves of a mirrored scan must agree.
#
# *Published:* paper and code, for fetal heads in 2D. *Ours:* a prior on the femur only; failed fits are left out; spheres in 3D.

# %%
ersr = book.page("ersr", reach=1.25)
ersr.picture()

# %%
ersr.term()

# %%
ersr.result()

# %% [markdown]
# *Something to try:* `shape="sphere"`. Where does a round prior lie?
#
# ## 7. M3HL: two masks that complete each other
#
# Half of the blocks come from a labelled scan, the others from an unlabelled one, and the other way round. Features of a mix must agree
# with those of the whole.
#
# *Published:* paper and code. *Ours:* both mixes in one pass, and a teacher without dropout.

# %%
m3hl = book.page("m3hl")
m3hl.picture()

# %%
m3hl.term()

# %%
m3hl.result()

# %% [markdown]
# *Something to try:* `blocks=8`. From which size on does a block say nothing?
#
# ## 8. C3S3: the winner teaches
#
# Two different networks compete: who fits the labels better at this step teaches the other. Where only one sees a class, their embeddings
# are pushed apart.
#
# *Published:* paper and code. *Ours:* two noises as views, a tenth of the contrast's weight.

# %%
c3s3 = book.page("c3s3")
c3s3.picture()

# %%
c3s3.term()

# %%
c3s3.result()

# %% [markdown]
# *Something to try:* `seed = 1` above. Does the same network win?
#
# ## 9. TransMedSeg: move the labelled ones
#
# Labelled embeddings are moved to where unlabelled ones of their class lie, and spread likewise. One closed form replaces endless draws.
#
# *Published:* the idea. *Ours:* β, decay, features: a reconstruction from a summary.

# %%
transmedseg = book.page("transmedseg")
transmedseg.picture()

# %%
transmedseg.term()

# %%
transmedseg.result()

# %% [markdown]
# *Something to try:* `alpha=1.0`. Which surface gets harder?
#
# ## 10. MEDL: know how much you know
#
# Networks give evidence, from which belief and uncertainty follow. Opinions are fused, and sure voxels come first.
#
# *Published:* paper, no code. *Ours:* evidence, curriculum strength and weights.

# %%
medl = book.page("medl")
medl.picture()

# %%
medl.term()

# %%
medl.result()

# %% [markdown]
# *Something to try:* `xi=0`. What is left of the curriculum?
#
# ### Exercise 2: fuse two opinions
#
# Beliefs $b, c$ and uncertainties $u, v$ of $K$ classes fuse to
# $\;b_n c_n + (b_n v + c_n u)/(1+K)\;$ and $\;uv$, all divided by their sum.

# %% tags=["solution"]
def fused(b: np.ndarray, u: float, c: np.ndarray, v: float) -> tuple[np.ndarray, float]:
    """Belief (K,) and uncertainty of both together."""
    # >>> solution: the two expressions of the text, divided by the sum of all K + 1 numbers
    belief, unsure = b * c + (b * v + c * u) / (1 + len(b)), u * v
    total = belief.sum() + unsure
    return belief / total, unsure / total
    # <<< solution

# %% tags=["check"]
from ssltut.methods.further.evidence import Opinion, fuse

rng = np.random.default_rng(seed)
one, two = (rng.dirichlet(np.ones(4)) for _ in range(2))
mine = fused(one[:3], one[3], two[:3], two[3])
ours = fuse(*(Opinion(torch.tensor(o[None, :3]), torch.tensor(o[None, 3])) for o in (one, two)))
assert np.isclose(mine[0].sum() + mine[1], 1), "belief and uncertainty must add up to 1"
assert np.allclose(mine[0], ours.belief[0]) and np.isclose(mine[1], ours.uncertainty[0]), "ssltut's fusion differs"
nobody = fused(one[:3], one[3], np.zeros(3), 1.0)
print(f"Right. Uncertainties {one[3]:.2f} and {two[3]:.2f} fuse to {mine[1]:.2f}; with one who knows nothing {one[3]:.2f} becomes {nobody[1]:.2f}.")

# %% [markdown]
# ## 11. CAD: cover the doubt
#
# The largest region the teacher is unsure of is covered by a piece of another scan that it is sure of. Two networks learn from the result.
#
# *Published:* the abstract. *Ours:* schedules and the choice of the piece.

# %%
cad = book.page("cad")
cad.picture()

# %%
cad.term()

# %%
cad.result()

# %% [markdown]
# *Something to try:* `side_last=0.6`. What gets lost?
#
# ## All methods: ideas and costs
#
# What each uses, and what a step costs: the project's record, measured on an idle machine. Read ratios, not seconds.

# %%
for idea, meaning in IDEAS.items():
    print(f"{idea}: {meaning}")
print()
for word, meaning in FIDELITIES.items():
    print(f"{word} ({meaning}): {', '.join(m.title for m in METHODS.values() if m.fidelity == word)}")
has = gallery.ideas()
print(f"\nMost used: {has.sum().idxmax()}, by {has.sum().max()} of {len(has)}.")
cost = recorded("costs").reindex(columns=["title", *COSTS]).set_index("title").reindex(has.index).dropna()
if len(cost):
    seconds = cost["seconds a step"]
    print(f"A step of {seconds.idxmax()} takes {seconds.max() / seconds.min():.0f} times one of {seconds.idxmin()}.")

# %%
told = "; ".join(f"{name}: {', '.join(row.index[row]) or 'none'}" for name, row in has.iterrows())
shown = has.loc[cost.index] if len(cost) else has
show.dot_matrix(shown, cost if len(cost) else has[[]],
                alt=f"Which ideas each method uses, with forward passes, networks, memory and time of a step. {told}.")

# %% [markdown]
# *What to see:* methods with the same dots differ in what they multiply. *Something to try:* an empty column pair: which
# two ideas has nobody joined?

# %%
pages = (rpg, ss_net, versemi, self_paced, mn, ersr, m3hl, c3s3, transmedseg, medl, cad)
table = pd.concat([pages[0].result().iloc[:1], *(page.result().iloc[1:] for page in pages)])
print(f"One seed, {len(scans.split.validation)} validation scans: above mean teacher are "
      f"{int((table['Dice against mean teacher'] > 0).sum())} of {len(pages)}. Notebook 06 and the record decide.")
table.sort_values("validation Dice", ascending=False)

# %%
if out:
    rows = [(f"validation Dice, {name}", value, "1") for name, value in table["validation Dice"].items()]
    rows += [(f"{column}, {name}", cost.loc[name, column], "MiB" if "MiB" in column else "s" if "seconds" in column else "1")
             for column in cost.columns for name in cost.index]
    Path(out).mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows, columns=["quantity", "value", "unit"]).assign(seed=seed).to_csv(Path(out) / "07_gallery.csv", index=False)

# %% tags=["instructor"]
# Let pairs take one page each and explain its picture to the class in two minutes; the matrix of dots then collects them. Run the notebook
# once beforehand, so that the runs are found.

# %% [markdown]
# **You can now**
# - explain each of eleven methods by its one idea: the title of its page
# - read its term in code and point at the same thing in its picture: both come from the same function
# - compute a self-paced weight and fuse two opinions by hand: $1 - \ell/\gamma$, and agreement plus what the other leaves open
# - place all methods by the ideas they use and what a step of each costs: `ideas` and the record of costs
