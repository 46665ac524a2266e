"""A small sound master that the tests of the notebook tool and of the tour copy, break and run."""

from pathlib import Path

import nbformat
import papermill
import tool
import tour

MASTER = r"""# %% [markdown]
# # 00 · First toy
#
# [![Open in Colab](https://x.org/badge.svg)](https://colab.research.google.com/x)
#
# Two functions and no network.
#
# *Minutes at class size on two cores: reading 1, computing 2, exercises 3.*
#
# ## You will be able to
#
# - double a number
# - halve a number that is
#   far too large
#
# **New words:** [entropy](../docs/glossary.md#entropy) in [nats](../docs/glossary.md#nat)

# %% tags=["parameters"]
profile = "class"
seed = 1
out = "nowhere"

# %%
import sys
assert sys.version_info >= (3, 11)

# %% [markdown]
# ## 1. Formulas
#
# **Why.** The entropy is $H = -\sum_c p_c \log p_c$ nats, it costs \$5 or $6, and `$x$` is code:
#
# $$\mathcal{L} = \frac{1}{N}\sum_{i=1}^{N} \|x_i - y_i\|^2$$

# %%
from pathlib import Path
from ssltut import show
Path(out).mkdir(parents=True, exist_ok=True)
table = f"quantity,value,unit,seed\nthickness,1.50,mm,{seed}\n"
_ = (Path(out) / "00_toy.csv").write_text(table)
print(profile, show.frontend(), Path.cwd().name)

# %%
import matplotlib.pyplot as plt
fig, axis = plt.subplots(figsize=(3, 2))
axis.plot([1, 2])
plt.close(fig)
show.picture(fig, alt="two points")

# %% [markdown]
# ## 2. Exercises
#
# ### Exercise 1 · write
#
# Double a number.
#
# <details><summary>Hint</summary>Which sign multiplies?</details>
# <details><summary>What it should look like</summary>
#
# `Exercise 1: right.`
#
# </details>

# %% tags=["solution"]
def double(x: int) -> int:
    "Twice x."
    # >>> solution: return two times x
    return 2 * x
    # <<< solution

# %% tags=["check"]
from ssltut.exercises import check

with check("1"):
    assert double(4) == 8, "4 doubled is 8"

# %% [markdown]
# ### Exercise 2 · predict
#
# Which is larger: twice 2 or twice 3? Write "2" or "3".
#
# <details><summary>Hint</summary>Count on your fingers.</details>
# <details><summary>What it should look like</summary>One letter.</details>

# %% tags=["solution"]
# >>> solution: "2" or "3"
larger = "3"
# <<< solution

# %% tags=["check"]
with check("2"):
    assert larger == "3", "twice 2 is only 4"

# %% [markdown]
# ### Exercise 3 · repair
#
# It returns a quarter. Make it a half.
#
# <details><summary>Hint</summary>What is divided by what?</details>
# <details><summary>What it should look like</summary>halve(4) is 2.</details>

# %% tags=["solution"]
def halve(x: float) -> float:
    # >>> solution: divide by the right number
    #| y = x / 4
    #|
    #| return y
    y = x / 2

    return y
    # <<< solution

# %% tags=["check"]
with check("3"):
    assert halve(4) == 2, "half of 4 is 2"

# %% tags=["instructor"]
print("for the teacher")

# %% [markdown]
# ### Question 1
#
# What is 1 + 1?
#
# - A: 1
# - B: 2
# - C: 3
# - D: 11
#
# <details><summary>Answer</summary>B. A multiplies, C counts the sign, D joins digits.</details>
#
# ### Question 2
#
# What is 2 x 2?
#
# - A: 4
# - B: 22
# - C: 2
# - D: 0
#
# <details><summary>Answer</summary>A. B joins digits, C divides, D subtracts.</details>
#
# ## You can now
#
# - double a number: `double(4)` is 8
# - halve a number that is far too large
#
# **In the code:** [ramp](../ssltut/methods/schedules.py)
#
# **Sources:** [Shannon 1948](https://doi.org/10.1002/j.1538-7305.1948.tb01338.x)
"""


def write_master(here: Path, text: str = MASTER, name: str = "00_toy") -> Path:
    """Write ``text`` as the master ``name`` below ``here``."""
    path = here / "masters" / f"{name}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text.replace("# # 00 ·", f"# # {name[:2]} ·"), encoding="utf-8")
    return path


def run_solution(name: str, folder: Path) -> nbformat.NotebookNode:
    """A solved notebook, run by papermill at profile smoke in ``folder``."""
    papermill.execute_notebook(
        tool.HERE / "solutions" / f"{name}.ipynb",
        folder / "run.ipynb",
        {"profile": "smoke", "seed": 0, "out": ""},
        kernel_name="python3",
        cwd=folder,
        progress_bar=False,
        execution_timeout=tour.TIMEOUT_S["smoke"],
        extra_arguments=["--log-level=ERROR"],
    )
    return nbformat.read(folder / "run.ipynb", as_version=4)
