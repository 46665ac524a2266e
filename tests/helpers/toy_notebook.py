"""A small sound master that the tests of the notebook tool and of the tour copy, break and run."""

from pathlib import Path

import nbformat
import papermill
import tool
import tour

MASTER = r'''# %% [markdown]
# # First toy
#
# [![Open in Colab](https://x.org/badge.svg)](https://colab.research.google.com/x)
#
# After this notebook **you will be able to**
# - double a number
# - halve a number that is
#   far too large
#
# The entropy is $H = -\sum_c p_c \log p_c$, it costs \$5 or $6, and `$x$` is code:
#
# $$\mathcal{L} = \frac{1}{N}\sum_{i=1}^{N} \|x_i - y_i\|^2$$

# %% tags=["parameters"]
profile = "class"
seed = 1
out = "nowhere"

# %%
import sys
if "google.colab" in sys.modules:
    # %pip install -q ssltut

# %% tags=["solution"]
def double(x: int) -> int:
    """Twice x."""
    # >>> solution: return two times x
    return 2 * x
    # <<< solution

# %% tags=["check"]
assert double(4) == 8

# %% tags=["solution"]
def halve(x: float) -> float:
    # >>> solution: return half of x
    y = x / 2

    return y
    # <<< solution

# %% tags=["check"]
assert halve(4) == 2

# %%
from pathlib import Path
from ssltut import show
Path(out).mkdir(parents=True, exist_ok=True)
_ = (Path(out) / "00_toy.csv").write_text(f"quantity,value,unit,seed\nthickness,1.50,mm,{seed}\n")
print(profile, show.frontend(), Path.cwd().name)

# %%
import matplotlib.pyplot as plt
fig, axis = plt.subplots(figsize=(3, 2))
axis.plot([1, 2])
plt.close(fig)
show.picture(fig, alt="two points")

# %% tags=["instructor"]
print("for the teacher")

# %% [markdown]
# **You can now**
# - double a number: `double(4)` is 8
# - halve a number that is far too large
'''


def write_master(here: Path, text: str = MASTER, name: str = "00_toy") -> Path:
    """Write ``text`` as the master ``name`` below ``here``."""
    path = here / "masters" / f"{name}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
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
