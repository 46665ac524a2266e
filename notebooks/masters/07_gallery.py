# %% [markdown]
# # 07 · A gallery of methods
#
# Every method of the package, family by family: its idea, its equation, what a step of it
# costs, how near it is to its source, and where its code is. Look up what you need.
#
# *A reference page.*
#
# *Minutes at class size on two cores: reading 4, computing 1, exercises 0.*

# %% [markdown]
# ## You will be able to
#
# - place a method in its family by its one idea
# - find its equation, its source and its file
# - compare what a step of each method costs
#
# **New words:** [fidelity](../docs/glossary.md#fidelity), [term](../docs/glossary.md#term),
# [pseudo-label](../docs/glossary.md#pseudo-label),
# [consistency loss](../docs/glossary.md#consistency-loss)

# %% tags=["parameters"]
profile = "class"  # smoke (its numbers mean nothing), class (a laptop), full (GPU)
seed = 0
out = ""  # folder for the numbers as CSV; "" writes none
cohort = ""  # folder of a cohort; "" takes the synthetic hips
bone = False  # True: all classes as one; for hips bone against rest
retrain = False  # True trains again and draws, where a picture ships

# %%
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pandas as pd
from PIL import Image

from ssltut import profile_named, read_cohort, show, synthetic_cohort
from ssltut.evaluation.record import COSTS, RECORDS, recorded
from ssltut.methods.contract import FIDELITIES, IDEAS
from ssltut.methods.registry import METHODS

# %%
P = profile_named(profile)
scans = read_cohort(Path(cohort)) if cohort else synthetic_cohort(**P.cohort)
scans = scans.as_bone() if bone else scans
pd.set_option("display.max_colwidth", 90)
cost = recorded("costs").reindex(columns=["method", *COSTS]).set_index("method")

def entries(*names: str) -> pd.DataFrame:
    """Fidelity, cost of a step, source and file of methods."""
    rows = {}
    for name in names:
        method, file = METHODS[name], METHODS[name].__module__.replace(".", "/")
        rows[method.title] = {"fidelity": method.fidelity, "source": method.paper}
        rows[method.title] |= {"year": method.year, "file": f"{file}.py", "name": name}
    table = pd.DataFrame(rows).T
    spent = cost.reindex(table.pop("name"))[["forward passes", "seconds a step"]]
    return table.join(spent.set_axis(table.index).round(2))

# %% [markdown]
# Costs are those of [results/costs.csv](../results/costs.csv): one thread, small patches;
# NaN: not measured. Read ratios, not seconds. In the equations $p$ is the student, $p'$ its teacher, a bar the
# mean over unlabelled voxels. Each picture comes from the functions that the loss calls, on
# one scan, after 60 steps; it shows what a method does, not whether it is good. The pictures
# ship; `retrain = True`, another size or cohort trains (a quarter of an hour) and draws.

# %%
ships = profile == "class" and not (seed or cohort or bone or retrain)
NOTEBOOKS = RECORDS.parent / "notebooks"

@cache
def book() -> "gallery.Gallery":
    """The gallery: mean teacher is trained, or found, and each page after it."""
    sys.path.append(str(NOTEBOOKS))
    import gallery

    config = gallery.short(P.train, seed)
    if profile == "class":
        config = replace(config, steps=60, validate_every=60)
    return gallery.open_gallery(scans, config)

# %%
pages = {}

def draw(name: str, **options: float) -> object:
    """What a method does with one scan."""
    file = NOTEBOOKS / "figures" / "gallery" / f"{name}.png"
    if ships and file.is_file():
        words = Image.open(file).info["Description"]
        return show.Picture(file.read_bytes(), alt=words)
    if not NOTEBOOKS.is_dir():
        return "This picture needs the project's folder notebooks/gallery."
    pages[name] = book().page(name, **options)
    return pages[name].picture()

for word, meaning in FIDELITIES.items():
    print(f"{word}: {meaning}")

# %% [markdown]
# ## 1. Bounds and control
#
# | method | idea | loss |
# |---|---|---|
# | labels only | ignores unlabelled scans | $L_S=CE+Dice$ |
# | labels only, same batch | unlabelled patches in the batch, in no loss | $L_S$ |
# | all labels | knows all labels | $L_S$ |

# %%
entries("labels_only", "same_batch", "all_labels")

# %% [markdown]
# ## 2. A teacher that is an average
#
# The teacher is the [EMA](../docs/glossary.md#ema) of the student.
#
# | method | idea | unlabelled term |
# |---|---|---|
# | mean teacher | agree under other noise | $\overline{(p-p')^2}$ |
# | UA-MT | only where the teacher is sure | the same where $H<\tau(t)$ |

# %%
entries("mean_teacher", "ua_mt")

# %% [markdown]
# ## 3. One network, several outputs
#
# | method | idea | unlabelled term |
# |---|---|---|
# | CCT | decoders of disturbed maps agree | $\overline{(p_k-p)^2}$, mean over $k$ |
# | MTC | rebuild the scan class by class | $\sum_c w_c\overline{(r_c-xp_c)^2}$ |
# | DTC | mask and distance agree | $\overline{(\sigma(-kd)-p)^2}$ |
# | URPC | resolutions agree | $\overline{(P-p_s)^2e^{-D_s}}/\overline{e^{-D_s}}+\overline{D_s}$ |
# | MC-Net+ | three decoders, each sharpened | $\sum_{i\neq j}\overline{(p_i-s(p_j))^2}$ |
# | SS-Net | the worst small change must not hurt | $\,1-Dice(p(x+\epsilon d),p(x))$ |

# %%
entries("cct", "mtc", "dtc", "urpc", "mc_net_plus", "ss_net")

# %%
draw("ss_net")

# %% [markdown]
# ## 4. Networks that teach each other
#
# | method | idea | unlabelled term |
# |---|---|---|
# | CPS | hard labels of the other | $CE(z_1,\arg\max z_2)+CE(z_2,\arg\max z_1)$ |
# | FixMatch | sure on a weak view, learnt on a strong one | $CE(z_s,\arg\max p_w)$ where $\max p_w\geq\tau$ |
# | C3S3 | who fits the labels teaches | $(p_{lose}-s(p_{win}))^2$, and a contrast |
# | M&N | 2D and 3D in turns | $Dice+KL(q,p)$ |

# %%
entries("cps", "fixmatch", "c3s3", "mn")

# %%
draw("c3s3")

# %%
draw("mn")

# %% [markdown]
# ## 5. Mixing scans
#
# | method | idea | mix |
# |---|---|---|
# | BCP | paste a box both ways | $aM+u(1-M)$ |
# | M3HL | blocks that complete each other | $aM+u(1-M)$ and $uM+a(1-M)$ |
# | CAD | cover the least sure region | a sure box over an unsure one |

# %%
entries("bcp", "m3hl", "cad")

# %%
draw("m3hl")

# %%
draw("cad", threshold_first=0.4, threshold_last=0.45)

# %% [markdown]
# ## 6. Embeddings
#
# | method | idea | unlabelled term |
# |---|---|---|
# | RPG | ask the labelled neighbours | $CE(p,q)$, $q$ their share |
# | self-paced | same height, alike; easy pairs first | $w\ell$, $w=\max(0,1-\ell/\gamma)$ |
# | TransMedSeg | move labelled embeddings to unlabelled ones | $CE$ of the moved, in closed form |
# | embedding matching | teacher where sure, else the match | $w_{UA}L_{UA}+w_{PS}(L_{NN}+L_{EN})$ |
# | neighbour vote | a vote with a gate | $CE$ to the vote |
# | region vote | asked in regions | the same in regions |
# | vote beside | a host, and a vote by looks and place | $L_{host}+wL_{vote}$ |

# %%
entries("rpg", "self_paced", "transmedseg", "embedding_matching", "neighbour_vote",
        "region_vote", "vote_beside")

# %%
draw("rpg")

# %%
draw("self_paced")

# %%
draw("transmedseg")

# %% [markdown]
# ## 7. Evidence, shapes, partial labels
#
# | method | idea | what it computes |
# |---|---|---|
# | MEDL | know how much you know; fuse two opinions | $\alpha=e^z+1$, $u=K/\sum\alpha$ |
# | ERSR | a head is round: repair the teacher's mask | $\overline{(p-fit(p'))^2}$ |
# | VerSemi | "any bone" is the union of its answers | $\,1-Dice(p_{any},\max_c p_c)$ |

# %%
entries("medl", "ersr", "versemi")

# %%
draw("medl")

# %%
draw("ersr", reach=1.25)

# %%
draw("versemi")

# %% [markdown]
# ## 8. All by ideas and costs
#
# **Look for.** Methods with the same dots: they differ in what they multiply. Which two
# ideas has nobody joined?

# %%
for idea, meaning in IDEAS.items():
    print(f"{idea}: {meaning}")
used = {m.title: [idea in m.ideas for idea in IDEAS] for m in METHODS.values()}
has = pd.DataFrame(used, index=list(IDEAS)).T
spent = cost.rename(index={name: m.title for name, m in METHODS.items()})
spent = spent.reindex(has.index).dropna()
has = has.loc[spent.index] if len(spent) else has
said = "; ".join(f"{n}: {', '.join(row.index[row])}" for n, row in has.iterrows())
show.dot_matrix(has, spent if len(spent) else has[[]],
                alt=f"The ideas of each method, with the costs of a step. {said}.")

# %%
if out:
    last = {page.method.title: page.result().iloc[-1] for page in pages.values()}
    rows = [(f"validation Dice, {name}", row["validation Dice"], "1")
            for name, row in last.items()]
    units = dict(zip(COSTS, ("1", "1", "MiB", "s"), strict=True))
    rows += [(f"{column}, {name}", spent.loc[name, column], units[column])
             for column in COSTS for name in spent.index]
    table = pd.DataFrame(rows, columns=["quantity", "value", "unit"]).assign(seed=seed)
    Path(out).mkdir(parents=True, exist_ok=True)
    table.to_csv(Path(out) / "07_gallery.csv", index=False)

# %% [markdown]
# ## You can now
#
# - place a method in its family by its one idea: sections 1 to 7
# - find its equation, its source and its file: two tables a family
# - compare what a step of each method costs: section 8
#
# `book().page("rpg").term()` shows the code behind a picture. `METHODS["rpg"].__doc__` names
# each difference from the paper.
#
# **In the code:** [the list of methods](../ssltut/methods/registry.py),
# [what a method is](../ssltut/methods/contract.py),
# [the pictures](../notebooks/gallery/pictures.py)
#
# **Sources:** each table names them; the review behind the families,
# [Jiao et al. 2024](https://arxiv.org/abs/2207.14191)
