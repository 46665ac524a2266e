"""The ways to install ssltut agree with each other."""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import distributions, packages_distributions
from pathlib import Path

import lock
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = ("3.11", "3.12", "3.13")
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@cache
def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {
        canonicalize_name(line.partition("==")[0]): line.partition("==")[2]
        for line in lines
        if line and not line.startswith("#")
    }


def requirements() -> list[Requirement]:
    extras = [line for lines in project()["optional-dependencies"].values() for line in lines]
    return [
        r
        for r in map(Requirement, project()["dependencies"] + extras)
        if r.name != project()["name"]
    ]


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_every_dependency_is_pinned_to_a_version_it_allows(requirement: Requirement) -> None:
    assert requirement.specifier.contains(
        pins()[canonicalize_name(requirement.name)], prereleases=True
    )


def brought(names: list[tuple[str, frozenset[str]]]) -> set[str]:
    """All that installing these distributions (name, extras) brings here, by their metadata.

    What is not installed at its pinned version says nothing about the pins, and is not followed.
    """
    waiting, seen = list(names), set(names)
    while waiting:
        name, extras = waiting.pop()
        installed = next(iter(distributions(name=name)), None)
        if installed is None or installed.version != pins().get(name):
            continue
        for requirement in map(Requirement, installed.requires or []):
            marker = requirement.marker
            if marker and not any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                continue
            entry = (canonicalize_name(requirement.name), frozenset(requirement.extras))
            if entry not in seen:
                seen.add(entry)
                waiting.append(entry)
    return {name for name, _ in seen}


@pytest.mark.skipif(sys.platform != "linux", reason="the pins were made on Linux")
def test_constraints_pin_all_that_pip_brings() -> None:
    names = [(canonicalize_name(r.name), frozenset(r.extras)) for r in requirements()]
    assert brought(names) - set(pins()) == set()


def test_constraints_are_plain_versions_and_leave_elfinder_out() -> None:
    assert all(
        re.fullmatch(r"[0-9][0-9a-z.]*", version) for version in pins().values()
    )  # no local version such as +cpu, no range
    assert "imjoy-elfinder" not in pins()
    assert "pydantic" not in pins()


def test_the_extra_all_names_every_other_extra() -> None:
    extras = project()["optional-dependencies"]
    assert Requirement(extras["all"][0]).extras == set(extras) - {"all"}


def test_conda_brings_python_and_pip_and_nothing_else() -> None:
    conda = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    python, *rest = conda["dependencies"]
    assert conda["name"] == project()["name"]
    assert conda["channels"] == ["conda-forge"]
    assert rest == ["pip", {"pip": ["-c constraints.txt", "-e .[all]"]}]
    assert python.startswith("python=")
    assert project()["requires-python"] == ">=3.11,<3.14"
    assert python[7:] in PYTHONS


def test_binder_has_what_a_learner_needs_and_no_cuda() -> None:
    lines = (ROOT / "binder" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    options = [line for line in lines if not line.startswith("#")]
    assert options == [f"--extra-index-url {CPU_INDEX}", "-c ../constraints.txt", ".[notebooks]"]
    runtime = (ROOT / "binder" / "runtime.txt").read_text(encoding="utf-8").strip()
    assert runtime.removeprefix("python-") in PYTHONS


def imported(source: str) -> set[str]:
    """The libraries that a program names."""
    tree = ast.parse(source)
    names = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    names |= {
        node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module
    }
    return {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - {"ssltut"}


def test_the_notebooks_import_nothing_that_a_learner_lacks() -> None:
    """The extra "notebooks" is enough; a cell of 10 asks first whether Dask is there."""
    extra = project()["optional-dependencies"]["notebooks"]
    needed = [Requirement(line) for line in project()["dependencies"] + extra]
    installed = brought([(canonicalize_name(r.name), frozenset(r.extras)) for r in needed])
    owners = packages_distributions()
    files = [*ROOT.glob("notebooks/masters/*.py"), *ROOT.glob("notebooks/gallery/*.py")]
    names = set().union(*(imported(file.read_text(encoding="utf-8")) for file in files))
    assert {"numpy", "PIL", "torch"} <= names
    lacking = {
        n for n in names if not {canonicalize_name(o) for o in owners.get(n, [])} & installed
    }
    assert lacking <= {"distributed", "gallery"}
    assert not installed & {"dask", "playwright", "sphinx", "monai", "itkwidgets"}


def test_the_lock_has_every_pin_of_a_learner_with_hashes_and_no_torch() -> None:
    text = (ROOT / "requirements-lock.txt").read_text(encoding="utf-8")
    blocks = re.findall(r"^([a-z0-9-]+)==(\S+)(.*\n(?:    .*\n?)+)", text, re.MULTILINE)
    locked = {name: version for name, version, _ in blocks}
    assert len(blocks) == text.count("==") - text.count("== '")
    assert all("--hash=sha256:" in rest for _, _, rest in blocks)
    assert {
        name for name, version in locked.items() if pins().get(name, version) != version
    } == set()
    extra = project()["optional-dependencies"]["notebooks"]
    needed = [Requirement(line) for line in project()["dependencies"] + extra]
    wanted = brought([(canonicalize_name(r.name), frozenset(r.extras)) for r in needed])
    assert wanted - set(locked) - {"setuptools"} == {"torch"}


def test_the_lock_leaves_out_torch_and_what_its_cuda_build_brings() -> None:
    made = "numpy==1 \\\n    --hash=a\ntorch==2 \\\n    --hash=b\nnvidia-nccl==3\ntqdm==4\n"
    assert lock.without_torch(made) == "numpy==1 \\\n    --hash=a\ntqdm==4\n"


@pytest.mark.parametrize("cpu", ["yes", ""])
def test_make_takes_the_cpu_build_where_there_is_no_driver(cpu: str) -> None:
    command = ["make", "-n", "-W", "pyproject.toml", ".venv/ssltut.stamp", f"CPU={cpu}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert (f"--index-url {CPU_INDEX} -c constraints.txt torch" in done.stdout) is bool(cpu)


def test_scripts_do_not_bear_the_name_of_a_library() -> None:
    """Tests put the folders of scripts first on the path: a coverage.py there ends coverage."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    scripts = [
        file
        for name in settings["pytest"]["ini_options"]["pythonpath"]
        for file in (ROOT / name).glob("*.py")
    ]
    libraries = set(sys.stdlib_module_names) | set(packages_distributions())
    assert not [str(file) for file in scripts if file.stem in libraries]
