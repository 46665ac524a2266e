"""Which code this is: a clone asks git, an installed package reads what it was built from."""

import subprocess
import sys

import pytest
from source import ROOT

from ssltut import __version__, files
from ssltut.cli import doctor

HASH = "7f55166"


def git_says(monkeypatch, text):
    asked = []

    def run(command, **options):
        asked.append(options["cwd"])
        if text is None:
            raise FileNotFoundError("no git")
        return subprocess.CompletedProcess(command, 0, stdout=f"{text}\n")

    monkeypatch.setattr(subprocess, "run", run)
    return asked


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A package in a folder of its own."""
    for module in (files, doctor):
        monkeypatch.setattr(module, "PACKAGE", tmp_path / "ssltut")
    (tmp_path / "ssltut").mkdir()
    return tmp_path / "ssltut"


@pytest.mark.parametrize("found", [HASH, f"v{__version__}-0-g{HASH}", f"{HASH}-dirty"])
def test_a_clone_asks_git_and_is_a_working_copy(here, monkeypatch, found):
    (here.parent / ".git").mkdir()
    asked = git_says(monkeypatch, found)
    assert doctor.version() == f"{__version__}, working copy, commit {found}"
    assert asked == [here]


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (f"v{__version__}-0-g{HASH}", "release"),
        (f"v{__version__}-0-g{HASH}-dirty", "not a release"),
        (f"v{__version__}-3-g{HASH}", "not a release"),
        (f"v0.0.1-0-g{HASH}", "not a release"),
        (HASH, "not a release"),
    ],
)
def test_an_installed_package_knows_and_asks_nobody(here, monkeypatch, found, kind):
    (here / "COMMIT").write_text(f"{found}\n")
    asked = git_says(monkeypatch, "of somebody else")
    assert doctor.version() == f"{__version__}, {kind}, commit {found}"
    assert asked == []


def test_a_package_without_both_says_that_nobody_knows(here, monkeypatch):
    asked = git_says(monkeypatch, "of somebody else, whose clone has this in .venv")
    assert doctor.version() == f"{__version__}, not a release, commit unknown"
    assert asked == []


def test_a_clone_without_git_works(here, monkeypatch):
    (here.parent / ".git").mkdir()
    git_says(monkeypatch, None)
    assert doctor.version() == f"{__version__}, working copy, commit unknown"


def test_what_is_built_holds_the_commit(tmp_path):
    """The package as it goes into a wheel, and the sdist."""
    build = [sys.executable, "setup.py", "-q", "egg_info", "-e", tmp_path, "build_py", "-d"]
    subprocess.run([*build, tmp_path / "built"], cwd=ROOT, check=True, capture_output=True)
    found = (tmp_path / "built" / "ssltut" / "COMMIT").read_text().strip()
    assert found == files.commit()
    assert not (ROOT / "ssltut" / "COMMIT").exists()


def test_asking_for_the_version_loads_nothing_large():
    code = "import sys; from ssltut.cli.main import build_parser; build_parser();"
    code += "print(*{'numpy', 'torch', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
