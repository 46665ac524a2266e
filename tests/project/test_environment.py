"""The ways to install ssltut agree with each other."""

import re
import sys
import tomllib
from functools import cache
from importlib.metadata import distributions, packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


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
    assert project()["requires-python"] == ">=3.11,<3.13"
    assert python[7:] in ("3.11", "3.12")


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
