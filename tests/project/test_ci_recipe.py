"""docs/ci.md holds outside the repository: its recipe, its messages and its exit codes."""

import re
import subprocess
from pathlib import Path

import nbformat
import pytest
import yaml
from clean import ROOT, Clean, text_of
from nbformat.v4 import new_code_cell, new_notebook, new_output

from ssltut.exercises import check

PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
BOOK = "06_comparing_fairly.ipynb"
BAD = [
    ("profil", "smoke", "this notebook has no parameter 'profil' Next: did you mean profile?"),
    ("seed", "three", "the parameters: seed is 'three' Next: give a whole number"),
    ("retrain", "true", "the parameters: retrain is 'true' Next: give one of True, False"),
]


@pytest.fixture(scope="module")
def outside(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Clean:
    """A folder of somebody else, after the first block of the recipe."""
    made = Clean(tmp_path_factory.mktemp("course"))
    made.install(wheel)
    made.environment["PATH"] = f"{made.bin}:{made.environment['PATH']}"
    return made


def shell(outside: Clean, lines: str) -> subprocess.CompletedProcess:
    """Lines of the page as a shell runs them."""
    options = {"cwd": outside.course, "env": outside.environment, "text": True}
    return subprocess.run(["bash", "-ec", lines], capture_output=True, check=False, **options)


def test_the_recipe_runs_and_solutions_leave_nothing_to_do(outside: Clean) -> None:
    installing, running, asking = BLOCKS
    assert installing.count("pip install") == 2
    done = shell(outside, running)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "bone: " in text_of(nbformat.read(outside.course / "ran.ipynb", as_version=4))
    assert shell(outside, asking).returncode == 0


def test_the_words_of_a_check_say_what_is_unsolved(
    outside: Clean, capsys: pytest.CaptureFixture[str]
) -> None:
    with check("1"):
        raise NotImplementedError("Your turn: count")
    cell = new_code_cell("x", outputs=[new_output("stream", text=capsys.readouterr().out)])
    nbformat.write(new_notebook(cells=[cell]), outside.course / "ran.ipynb")
    found = shell(outside, BLOCKS[-1])
    assert found.returncode == 1
    assert found.stdout.splitlines() == ["Not yet: Your turn: count\\n"]


@pytest.mark.parametrize(("name", "value", "message"), BAD, ids=[name for name, _, _ in BAD])
def test_a_wrong_parameter_ends_with_code_1_and_the_next_step(
    outside: Clean, name: str, value: str, message: str
) -> None:
    assert f"ConfigError: {message}\n" in PAGE
    outside.run(str(outside.bin / "ssltut"), "notebooks", "course")
    book = "course/00_start_here.ipynb" if name == "retrain" else f"course/{BOOK}"
    done = shell(outside, f"python -m papermill -k python3 {book} bad.ipynb -p {name} {value}")
    assert done.returncode == 1
    assert message in done.stderr


def test_a_wrong_option_is_code_2(outside: Clean) -> None:
    assert shell(outside, "python -m papermill --no-such-option a b").returncode == 2


def test_the_workflow_is_yaml_and_installs_what_the_recipe_does() -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    steps = yaml.safe_load(block)["jobs"]["notebooks"]["steps"]
    told = [line.partition("  #")[0].strip() for line in BLOCKS[0].splitlines() if "pip" in line]
    assert steps[2]["run"].splitlines() == told
    for part in ("-k python3", "--cwd course", "--execution-timeout 600", "-p profile smoke"):
        assert part in steps[3]["run"]
