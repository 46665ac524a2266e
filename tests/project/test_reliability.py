"""RELIABILITY.md names tests that exist, and stays short."""

import re

import pytest
from source import ROOT, parse

TEXT = (ROOT / "RELIABILITY.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)


def functions(file: str) -> set[str]:
    return {getattr(node, "name", "") for node in parse(ROOT / file).body}


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_named_test_exists(file: str, name: str) -> None:
    assert name in functions(file)


def test_every_promise_names_a_test() -> None:
    promises = TEXT.split("## What is promised\n")[1].split("\n## ")[0].strip().split("\n\n")
    assert len(promises) >= 10
    assert [text for text in promises if not re.search(r"`tests/[^`]+::", text)] == []


def test_it_has_two_pages_at_most() -> None:
    assert len(TEXT.split()) < 1000


def test_a_test_that_is_gone_is_noticed() -> None:
    assert "test_no_such" not in functions("tests/project/test_reliability.py")
