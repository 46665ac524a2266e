"""What has to agree before a release: versions, citation and changelog. ``make dist`` runs this."""

import datetime
import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from ssltut import __version__

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
SECTION = re.compile(r"## \[(?P<version>\d+\.\d+\.\d+)\] - (?P<date>\d{4}-\d\d-\d\d|Unreleased)")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


PROJECT = tomllib.loads(read("pyproject.toml"))["project"]
CITATION = yaml.safe_load(read("CITATION.cff"))
CODEMETA = json.loads(read("codemeta.json"))


def test_the_version_is_the_same_everywhere():
    sections = [SECTION.fullmatch(line) for line in read("CHANGELOG.md").splitlines()]
    newest = next(section for section in sections if section)
    assert {
        "pyproject.toml": PROJECT["version"],
        "CITATION.cff": CITATION["version"],
        "codemeta.json": CODEMETA["version"],
        "CHANGELOG.md": newest["version"],
    } == dict.fromkeys(
        ["pyproject.toml", "CITATION.cff", "codemeta.json", "CHANGELOG.md"], __version__
    )


def test_what_is_said_of_the_project_is_the_same_everywhere():
    assert CITATION["title"] == CODEMETA["name"] == PROJECT["name"]
    assert CITATION["license"] == PROJECT["license"] == CODEMETA["license"].rpartition("/")[2]
    assert CODEMETA["description"] == PROJECT["description"]
    assert CODEMETA["keywords"] == PROJECT["keywords"]
    assert CODEMETA["runtimePlatform"] == f"Python {PROJECT['requires-python']}"
    (paper,) = CITATION["references"]
    (article,) = CODEMETA["referencePublication"]
    assert (article["name"], article["url"]) == (paper["title"], paper["url"])
    assert article["datePublished"] == str(paper["year"])


def faults_of_citation(citation: dict[str, Any]) -> list[str]:
    """What the Citation File Format 1.2.0 asks for, as far as it is used here."""
    needed = {"cff-version", "message", "title", "authors"}
    found = [f"there is no {name}" for name in sorted(needed - set(citation))]
    known = {*needed, "type", "abstract", "version", "license", "references", "date-released"}
    found += [f"{name} is not a field" for name in sorted(set(citation) - known)]
    if citation.get("cff-version") != "1.2.0":
        found.append("its format is not 1.2.0")
    if not citation.get("authors") or not all("name" in one for one in citation["authors"]):
        found.append("an author has no name")
    for reference in citation.get("references", []):
        if not {"type", "title", "authors"} <= set(reference):
            found.append("a reference lacks its type, title or authors")
    return found


def test_the_citation_is_valid():
    assert faults_of_citation(CITATION) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"authors": []}, "an author"),
        ({"cff-version": 1.2}, "its format"),
        ({"Title": "x"}, "Title is not a field"),
        ({"references": [{"title": "x"}]}, "a reference"),
    ],
)
def test_a_fault_of_the_citation_is_seen(change, said):
    assert said in " ".join(faults_of_citation(CITATION | change))


def test_codemeta_has_its_context_and_type():
    assert CODEMETA["@context"] == "https://w3id.org/codemeta/3.0"
    assert CODEMETA["@type"] == "SoftwareSourceCode"
    assert all({"@type", "name"} <= set(author) for author in CODEMETA["author"])
    assert (ROOT / CODEMETA["readme"]).is_file()


def faults_of_changelog(text: str) -> list[str]:
    """Headings that Keep a Changelog has not."""
    found = [] if text.startswith("# Changelog\n") else ["it is not called Changelog"]
    for line in re.findall(r"^##+ .*", text, re.MULTILINE):
        if line.startswith("### "):
            if not line.removeprefix("### ").startswith(KINDS):
                found.append(f"'{line}' is not one of {', '.join(KINDS)}")
        elif line != "## [Unreleased]" and not SECTION.fullmatch(line):
            found.append(f"'{line}' is not a version and its date")
    return found


def test_the_changelog_has_the_form_it_says():
    assert faults_of_changelog(read("CHANGELOG.md")) == []
    assert "keepachangelog.com" in read("CHANGELOG.md")


@pytest.mark.parametrize("line", ["## 0.3", "## [0.3.0]", "## [0.3.0] - 1 May", "### News"])
def test_another_heading_is_seen(line):
    good = "# Changelog\n## [Unreleased]\n### Fixed\n## [0.2.0] - 2026-11-28\n### Added: a thing\n"
    assert faults_of_changelog(good) == []
    assert len(faults_of_changelog(f"{good}{line}\n")) == 1


@pytest.mark.skipif(not os.environ.get("SSLTUT_TAG"), reason="SSLTUT_TAG names no release")
def test_a_tag_names_the_version_and_the_changelog_has_its_date():
    assert os.environ["SSLTUT_TAG"] == f"v{__version__}"
    (date,) = re.findall(rf"^## \[{re.escape(__version__)}\] - (.*)$", read("CHANGELOG.md"), re.M)
    assert datetime.date.fromisoformat(date), "the changelog has no date for this release"
