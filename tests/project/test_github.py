"""What stands in .github: workflows run what make runs, with few rights, from pinned actions."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[2]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").iterdir())
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
# The only rights beyond reading, by the job that needs them.
RIGHTS = {
    ("site", "deploy"): {"pages": "write", "id-token": "write"},
    ("release", "publish"): {"id-token": "write"},
}


def read(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def targets() -> set[str]:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):.*## ", text, re.MULTILINE))


def faults(name: str, workflow: dict[Any, Any], text: str) -> list[str]:
    """What a workflow may not do, each in a few words."""
    found = []
    triggers = workflow[True]  # YAML takes the word "on" for yes
    if "pull_request_target" in triggers or "workflow_run" in triggers:
        found.append("it gives the rights of the project to a stranger's change")
    if workflow.get("permissions") != {"contents": "read"}:
        found.append("its permissions are not: contents, read")
    for line in re.findall(r"uses: *(.*)", text):
        if not PINNED.fullmatch(line):
            found.append(f"{line} is not pinned to a commit with its version")
    for job_name, job in workflow["jobs"].items():
        if job.get("permissions", {}) != RIGHTS.get((name, job_name), {}):
            found.append(f"{job_name} has rights that are not in the list")
        if not 0 < job.get("timeout-minutes", 0) <= 120:
            found.append(f"{job_name} may run without end")
        for step in job["steps"]:
            found += faults_of_step(step)
    return found


def faults_of_step(step: dict[str, Any]) -> list[str]:
    found = []
    if "run" in step:
        command, *words = step["run"].split()
        by_make = command == "make" and len(words) == 1 and words[0] in targets()
        if not by_make and step["run"] != ".ci/run":
            found.append(f"'{step['run']}' is neither a target of make nor .ci/run")
    is_checkout = step.get("uses", "").startswith("actions/checkout@")
    if is_checkout and step.get("with", {}).get("persist-credentials") is not False:
        found.append("checkout leaves its token in the clone")
    return found


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_a_workflow_runs_what_make_runs_and_has_few_rights(file):
    text = file.read_text(encoding="utf-8")
    assert read(file)["name"] == file.stem
    assert faults(file.stem, read(file), text) == []


GOOD = """
on: [push]
permissions: {contents: read}
jobs:
  a:
    timeout-minutes: 5
    steps:
      - uses: actions/checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd # v6.0.2
        with: {persist-credentials: false}
      - run: make check
"""


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("[push]", "[pull_request_target]", "rights of the project"),
        ("permissions: {contents: read}", "permissions: write-all", "permissions are not"),
        ("permissions: {contents: read}", "env: {}", "permissions are not"),
        ("@de0fac2e4500dabe0009e67214ff5f5447ce83dd # v6.0.2", "@v6", "not pinned"),
        (" # v6.0.2", "", "not pinned"),
        ("timeout-minutes: 5", "permissions: {packages: write}", "rights that are not"),
        ("timeout-minutes: 5", "name: b", "without end"),
        ("persist-credentials: false", "fetch-depth: 0", "leaves its token"),
        ("make check", "pip install ssltut", "neither a target"),
        ("make check", "make no-such-target", "neither a target"),
        ("make check", "make check && curl x", "neither a target"),
    ],
)
def test_a_fault_is_seen(right, wrong, said):
    assert faults("x", yaml.safe_load(GOOD), GOOD) == []
    text = GOOD.replace(right, wrong)
    assert said in " ".join(faults("x", yaml.safe_load(text), text))


def test_every_python_that_is_allowed_is_tested_on_every_system():
    matrix = read(GITHUB / "workflows" / "test.yml")["jobs"]["matrix"]["strategy"]["matrix"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    allowed = SpecifierSet(project["requires-python"])
    assert matrix["python"] == [f"3.{minor}" for minor in range(30) if f"3.{minor}" in allowed]
    assert [name.split("-")[0] for name in matrix["os"]] == ["ubuntu", "macos", "windows"]


def test_the_oldest_libraries_are_constraints_for_each_lower_bound():
    script = [sys.executable, str(ROOT / ".ci" / "oldest.py")]
    lines = subprocess.run(script, capture_output=True, text=True, check=True).stdout.splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounds = re.findall(r">=", str([project["dependencies"], project["optional-dependencies"]]))
    assert len(lines) == len(bounds)
    assert "torch==2.6" in lines
    assert [line for line in lines if line.startswith("dask==")]


@pytest.mark.parametrize("name", ["bug", "question", "method"])
def test_a_form_asks_for_what_is_needed(name):
    form = read(GITHUB / "ISSUE_TEMPLATE" / f"{name}.yml")
    assert {"name", "description", "labels", "body"} == set(form)
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields)
    for field in fields:
        assert field["type"] in ("input", "textarea", "dropdown", "checkboxes")
        assert field["attributes"]["label"]
    assert fields[0]["validations"] == {"required": True}


def test_a_report_of_a_fault_holds_what_doctor_says():
    fields = read(GITHUB / "ISSUE_TEMPLATE" / "bug.yml")["body"]
    (doctor,) = [field for field in fields if "ssltut doctor" in str(field)]
    assert doctor["validations"]["required"]


def test_libraries_and_actions_are_kept_new():
    updates = read(GITHUB / "dependabot.yml")["updates"]
    assert {update["package-ecosystem"] for update in updates} == {"github-actions", "pip"}


@pytest.mark.parametrize("name", ["CODE_OF_CONDUCT.md", "SECURITY.md", "CONTRIBUTING.md"])
def test_readme_leads_to_the_pages_for_those_who_take_part(name):
    assert (ROOT / name).is_file()
    assert f"]({name})" in (ROOT / "README.md").read_text(encoding="utf-8")
