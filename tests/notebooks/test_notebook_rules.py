"""The rules of a notebook: each names one broken copy of the toy, and none names the sound one."""

from pathlib import Path

import pytest
import rules
import tool
from toy_notebook import MASTER, write_master

QUESTION_2 = MASTER[MASTER.index("# ### Question 2") : MASTER.index("# ## You can now")]
WORDS = "[entropy](../docs/glossary.md#entropy) in [nats](../docs/glossary.md#nat)"
TITLE = {
    "no number": ("# # 00 ·", "# #", "does not open with '# 00 · Title'"),
    "other number": ("# # 00 ·", "# # 0 ·", "does not open with '# 00 · Title'"),
    "no minutes": ("exercises 3.*", "exercises 3*", "the title cell has no line '*Minutes"),
    "late minutes": (
        "# *Minutes at class size on two cores: reading 1, computing 2, exercises 3.*\n#\n",
        "",
        "the title cell has no line '*Minutes",
    ),
}
PROMISES = {
    "no opening": ("## You will be able to", "## 1. Hopes", "has no list under '## You will"),
    "no opening list": (
        "# - double a number\n# - halve a number that is\n#   far too large\n",
        "",
        "has no list under '## You will",
    ),
    "other closing": (
        "# - halve a number that is far too large",
        "# - halve a number",
        "is not the opening one",
    ),
    "longer closing": ("is 8\n", "is 8\n# - fly\n", "is not the opening one"),
    "no closing": ("## You can now", "### Done", "is not the opening one"),
    "more after it": (
        "# **In the code:**",
        "# ## 3. More\n#\n# **In the code:**",
        "'## 3. More' comes after '## You can now'",
    ),
}
WORDING = {
    "no new words": ("**New words:**", "Words:", "no line '**New words:**' with links"),
    "new words without a link": (WORDS, "entropy", "no line '**New words:**' with links"),
    "word not in the glossary": ("#entropy)", "#enthalpy)", "leads to '#enthalpy', which"),
    "word without a link": ("[nats](../docs/glossary.md#nat)", "units", "'nats' is used before"),
    "late link": (
        "Two functions and no network.",
        "Two functions and no HD95.",
        "'HD95' is used before a link says what it means",
    ),
    "own label": ("**Why.**", "**Try.**", "the label '**Try.**': only Why., Look for., So."),
    "label in italics": ("**Why.**", "*To see:*", "the label '*To see:*'"),
    "section without number": ("## 1. Formulas", "## Formulas", "'## Formulas': sections are"),
    "gap in the numbers": ("## 2. Exercises", "## 3. Exercises", "are numbered [1, 3]"),
}
EXERCISES = {
    "two exercises": ("### Exercise 2 · predict", "### Task", "exercises are ["),
    "other kind": ("Exercise 3 · repair", "Exercise 3 · write", "exercises are ["),
    "other heading": ("### Exercise 1 · write", "### Exercise 1: write", "exercises are ["),
    "no hint": (
        "<details><summary>Hint</summary>Which sign multiplies?</details>",
        "",
        "exercise 1: its folded parts are ['What it should look like']",
    ),
    "nothing expected": (
        "<summary>What it should look like</summary>One letter.",
        "<summary>More</summary>One letter.",
        "exercise 2: its folded parts are ['Hint', 'More']",
    ),
    "no solution": (
        '# %% tags=["solution"]\n# >>> solution: "2" or "3"\nlarger = "3"\n# <<< solution\n',
        "# %%\nlarger = 3\n",
        "exercise 2: needs a solution cell and then its check cell, has check",
    ),
    "no check": (
        '# %% tags=["check"]\nwith check("2")',
        '# %%\nwith check("2")',
        "exercise 2: needs a solution cell and then its check cell, has solution",
    ),
    "check of another": (
        'with check("3"):',
        'with check("2"):',
        "exercise 3: its check cell has no 'with check(\"3\"):'",
    ),
    "check that raises": (
        'with check("2"):\n    assert larger',
        "if True:\n    assert larger",
        "exercise 2: its check cell has no 'with check(\"2\"):'",
    ),
    "hint with the answer": (
        "Which sign multiplies?",
        "Write return 2 * x there.",
        "exercise 1: its hint holds the solution: return 2 * x",
    ),
    "stub that computes": (
        'larger = "3"',
        'larger = max("2", "3"); print(larger)',
        "code cell 7: an answer outside a function is made of assignments",
    ),
    "one question": (QUESTION_2, "", "needs '### Question 1' and '### Question 2'"),
    "three options": ("# - D: 0\n", "", "Question 2: its options are ['A', 'B', 'C']"),
    "silent answer": (
        "B joins digits, C divides, D subtracts",
        "B and C are wrong",
        "Question 2: no folded answer says anything of D",
    ),
}
LINKS = {
    "no code": ("**In the code:**", "Code:", "no line '**In the code:**' with links"),
    "no source": (
        "https://doi.org/10.1002/j.1538-7305.1948.tb01338.x",
        "https://x.org/y",
        "no line '**Sources:**' with links",
    ),
    "no such file": (
        "../ssltut/methods/schedules.py",
        "../ssltut/methods/shedules.py",
        "leads to ../ssltut/methods/shedules.py, which does not exist",
    ),
    "no such picture": (
        "Two functions",
        "![two](figures/two.png) Two functions",
        "leads to figures/two.png, which does not exist",
    ),
    "picture without words": (
        "Two functions",
        "![](../results/figures/overview.png) Two functions",
        "has no alternative text",
    ),
    "no such notebook": (
        "Two functions",
        "[Next](01_toy.ipynb): two functions",
        "leads to 01_toy.ipynb, which does not exist",
    ),
    "raw Markdown": (
        "Count on your fingers.",
        "Count `2 * 2`.",
        "under 'Hint' Markdown needs an empty line",
    ),
}
LIMITS = {
    "too many words": (
        "Two functions",
        "word " * rules.MAX_WORDS + "Two functions",
        "words of text, more than 1000",
    ),
    "too many cells": (
        "# %%\nimport sys",
        "# %%\nx = 1\n\n" * 15 + "# %%\nimport sys",
        "26 code cells, more than 25",
    ),
    "long cell": (
        "# %%\nimport sys",
        "# %%\n" + "x = 1\n" * 15 + "import sys",
        "code cell 2: 17 lines, more than 15",
    ),
    "wide line": (
        "import sys\n",
        f"import sys  # {'x' * 75}\n",
        "code cell 2: a line of 89 characters, more than 88",
    ),
}
CELLS = {
    "no parameters": ('# %% tags=["parameters"]', "# %%", "0 cells tagged parameters"),
    "two parameters": (
        "# %%\nimport sys",
        '# %% tags=["parameters"]\nimport sys',
        "2 cells tagged parameters",
    ),
    "parameter that computes": ("seed = 1\n", "seed = 1 + 0\n", "does more than give names"),
    "open marker": ("    return 2 * x\n    # <<< solution\n", "", "not one of a pair"),
    "marker without task": (
        "solution: divide by the right number",
        "solution:",
        "not one of a pair",
    ),
    "marker without tag": (
        '# %% tags=["solution"]\ndef double',
        "# %%\ndef double",
        "solution markers without the tag",
    ),
    "tag without marker": (
        "# %%\nimport sys",
        '# %% tags=["solution"]\nimport sys',
        "solution tag without markers",
    ),
    "no alt": (', alt="two points"', "", "show.picture without alt="),
    "bare figure": ("plt.close(fig)", "plt.show()", "plt.show() draws a figure without alt text"),
    "name import": (
        "from ssltut import show",
        "from ssltut.show import picture",
        "imports from ssltut.show",
    ),
}
BROKEN = TITLE | PROMISES | WORDING | EXERCISES | LINKS | LIMITS | CELLS


def problems(folder: Path, text: str = MASTER) -> list[str]:
    return rules.problems(tool.lesson(write_master(folder, text)))


def test_no_rule_fires_on_a_sound_master(tmp_path: Path) -> None:
    assert problems(tmp_path) == []


@pytest.mark.parametrize(("old", "new", "problem"), BROKEN.values(), ids=BROKEN)
def test_each_rule_fires(old: str, new: str, problem: str, tmp_path: Path) -> None:
    assert old in MASTER
    found = problems(tmp_path, MASTER.replace(old, new))
    assert any(problem in line for line in found), found


def test_a_mesh_is_no_figure_and_needs_no_alt(tmp_path: Path) -> None:
    text = MASTER.replace(
        'show.picture(fig, alt="two points")', "show.surface(label, 1, spacing=(1, 1, 1))"
    )
    assert text != MASTER
    assert problems(tmp_path, text) == []


def test_links_to_another_notebook_and_to_a_picture_that_exist_are_no_problem(
    tmp_path: Path,
) -> None:
    write_master(tmp_path, MASTER, "01_next")
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "two.png").write_bytes(b"")
    more = "![two](figures/two.png), [next](01_next.ipynb), [x](https://x.org)"
    assert problems(tmp_path, MASTER.replace("Two functions", f"{more} Two functions")) == []


def test_a_reference_page_needs_no_exercise_and_no_question_but_all_else(tmp_path: Path) -> None:
    minutes = "# *Minutes at class size"
    page = MASTER.replace(minutes, f"# {rules.REFERENCE}\n#\n{minutes}")
    page = page.replace("### Question", "### Answer").replace("### Exercise", "### Task")
    assert problems(tmp_path, page) == []
    assert problems(tmp_path, page.replace(rules.REFERENCE, "A page.")) != []
    assert problems(tmp_path, page.replace("## 1. Formulas", "## Formulas")) != []
