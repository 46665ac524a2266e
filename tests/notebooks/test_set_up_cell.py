"""The set-up cell: ssltut is imported, or comes from the one address, or there is an error."""

from pathlib import Path

import nbformat
import pytest
import tool
from clean import Clean, text_of
from toy_notebook import MASTER, write_master

COLAB = "import sys, types; sys.modules['google.colab'] = types.ModuleType('google.colab')\n"


@pytest.fixture
def clean(tmp_path: Path) -> Clean:
    """An environment without ssltut whose kernels think that they are Colab's."""
    made = Clean(tmp_path / "clean")
    made.environment.pop("SSLTUT_FRONTEND", None)
    startup = tmp_path / "clean" / ".ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00-colab.py").write_text(COLAB)
    return made


def toy(folder: Path, release: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy notebook as it is made when ``release`` is the address of the wheel."""
    monkeypatch.setattr(tool, "address", lambda: release)
    book = tool.copy(tool.read(write_master(folder, MASTER)), solution=True)
    nbformat.write(book, folder / "toy.ipynb")
    return folder / "toy.ipynb"


def test_ssltut_comes_from_the_address_and_is_then_imported(
    clean: Clean, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("-p", "profile", "smoke")
    assert " " in str(wheel)
    first = clean.notebook(toy(clean.course, str(wheel), monkeypatch), *given)
    assert "smoke colab" in text_of(first)  # what a cell of the toy prints
    clean.environment["PIP_NO_FIND_LINKS"] = "1"
    wheel.rename(wheel.with_suffix(".away"))  # nothing is fetched where ssltut is
    try:
        second = clean.notebook(toy(clean.course, str(wheel), monkeypatch), *given)
    finally:
        wheel.with_suffix(".away").rename(wheel)
    assert "smoke colab" in text_of(second)
    assert "pip" not in text_of(second)


def test_where_pip_fails_the_cell_says_what_to_do(
    clean: Clean, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = str(clean.course / "ssltut-9.9.9-py3-none-any.whl")
    said = clean.papermill(toy(clean.course, missing, monkeypatch), fails=True)
    assert f"ssltut is not installed: pip could not get {missing}. Next: install" in said


def test_without_an_address_nothing_is_installed_by_a_free_name(
    clean: Clean, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clean.course / "ssltut").mkdir()  # a clone in the folder is not yet an installed package
    said = clean.papermill(toy(clean.course, "", monkeypatch), fails=True)
    assert "ssltut is not installed: no release has an address yet. Next: install" in said
    assert "pip install" not in said


def test_the_address_is_that_of_the_project() -> None:
    release = tool.address()
    assert release == "" or (release.startswith("https://") and release.endswith(".whl"))
    for book in (*tool.HERE.glob("[0-9]*.ipynb"), *tool.HERE.glob("solutions/*.ipynb")):
        text = book.read_text(encoding="utf-8")
        assert "pip install -q ssltut" not in text
        assert text.count("%pip") == 1


def test_kinds_of_the_parameters_are_those_of_their_defaults() -> None:
    cell = tool.set_up('profile = "class"\nseed = 0\nout = ""\nbone = False\nprice = 2.0', "")
    last = cell.splitlines()[-1]
    kinds = "profile=str, seed=int, out=str, bone=bool, price=float"
    assert last == f"check_parameters(globals(), {kinds})"
