"""The distribution is whole: a wheel, built from the sdist, runs notebooks away from the clone."""

import json
import re
import zipfile
from pathlib import Path

import nbformat
import pytest
from clean import ROOT, Clean, outputs_of, text_of

from ssltut.evaluation.record import recorded

PATTERNS = ("*.ipynb", "solutions/*.ipynb", "figures/**/*.png", "gallery/*.py")


@pytest.fixture(scope="module")
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Clean:
    """An environment with the wheel, and the notebooks that it brought."""
    made = Clean(tmp_path_factory.mktemp("clean"))
    made.install(wheel)
    said = made.run(str(made.bin / "ssltut"), "notebooks", ".", "--solutions")
    assert len(said.splitlines()) == 23
    return made


def solved(clean: Clean, name: str, profile: str = "smoke") -> nbformat.NotebookNode:
    source = clean.course / "solutions" / f"{name}.ipynb"
    return clean.notebook(source, "-p", "profile", profile, "-p", "out", "my numbers")


def test_a_wheel_holds_what_the_notebooks_read_and_nothing_of_the_tests(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    files = {file for pattern in PATTERNS for file in (ROOT / "notebooks").glob(pattern)}
    records = {*ROOT.glob("results/*.csv"), *ROOT.glob("results/gpu/*.csv")}
    wanted = {f"ssltut/project/{file.relative_to(ROOT).as_posix()}" for file in files}
    wanted |= {f"ssltut/project/{file.relative_to(ROOT).as_posix()}.gz" for file in records}
    wanted |= {file.relative_to(ROOT).as_posix() for file in ROOT.glob("ssltut/weights/*/*")}
    assert len(wanted) > 70
    assert wanted - names == set()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"ssltut"}
    assert wheel.stat().st_size < 5_000_000


def test_the_environment_has_the_wheel_and_none_of_the_clone(clean: Clean) -> None:
    code = "import ssltut.files as f; print(f.__file__, f.PROJECT, sep='\\n')"
    file, project = map(Path, clean.run(clean.python, "-c", code).splitlines())
    assert file.is_relative_to(clean.bin.parent)
    assert project == file.with_name("project")
    code = f"open({str(ROOT / 'README.md')!r})"
    assert "outside the clone, but opened" in clean.run(clean.python, "-c", code, fails=True)
    code = "import socket; socket.create_connection(('192.0.2.1', 80), 1)"
    assert "offline, but asked for" in clean.run(clean.python, "-c", code, fails=True)


def test_records_of_a_wheel_are_those_of_the_clone(clean: Clean) -> None:
    names = ["bone", "costs", "climax", "synthetic_class", "gpu/speed"]
    code = f"from ssltut.evaluation.record import *; print([len(recorded(n)) for n in {names}])"
    assert json.loads(clean.run(clean.python, "-c", code)) == [len(recorded(n)) for n in names]


def test_the_first_notebook_runs(clean: Clean) -> None:
    assert "Not yet" not in text_of(solved(clean, "00_start_here"))
    assert (clean.course / "my numbers" / "00_start_here.csv").is_file()


def test_matches_run_with_their_record(clean: Clean) -> None:
    text = text_of(solved(clean, "04_embedding_correspondences"))
    assert "Better than the teacher on so many scans:" in text
    assert "Not yet" not in text


def test_the_comparison_comments_on_tables_that_are_there(clean: Clean) -> None:
    text = text_of(solved(clean, "06_comparing_fairly"))
    assert re.search(r"^bone: \d+ methods, \d+ draws, 60 test patients$", text, re.MULTILINE)
    assert "no results table" not in text


def test_the_gallery_shows_the_pictures_that_ship(clean: Clean) -> None:
    book = solved(clean, "07_gallery", "class")
    assert sum("image/png" in output.get("data", {}) for output in outputs_of(book)) == 12
    assert "no results table" not in text_of(book)
