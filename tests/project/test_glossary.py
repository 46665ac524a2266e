"""Every link into the glossary leads to a word there, and its words are in order and short."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GLOSSARY = ROOT / "docs" / "glossary.md"
READ = ("README.md", "CONTRIBUTING.md", "docs/*.md", "notebooks/masters/*.py", "notebooks/*.md")
LINK = re.compile(r"glossary\.(?:md|html)#([\w-]+)")
FOR_LAB = re.compile(r'^<a id="([\w-]+)"></a>\n\n', re.MULTILINE)
MOST_WORDS = 75  # of an entry: one or two sentences, three where a symbol needs one


def anchor(heading: str) -> str:
    """The anchor that GitHub, JupyterLab and the site give to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def entries(text: str) -> dict[str, str]:
    """Heading and text of every word."""
    parts = re.split(r"^## (.+)$", FOR_LAB.sub("", text), flags=re.MULTILINE)
    return dict(zip(parts[1::2], (part.strip() for part in parts[2::2]), strict=True))


def broken_links(text: str, anchors: set[str]) -> list[str]:
    """Anchors that ``text`` links to and the glossary does not have."""
    return [link for link in LINK.findall(text) if link not in anchors]


def words() -> dict[str, str]:
    return entries(GLOSSARY.read_text(encoding="utf-8"))


@pytest.mark.parametrize("pattern", READ)
def test_every_link_into_the_glossary_leads_to_a_word(pattern: str) -> None:
    anchors = {anchor(word) for word in words()}
    broken = {
        path.name: found
        for path in ROOT.glob(pattern)
        if (found := broken_links(path.read_text(encoding="utf-8"), anchors))
    }
    assert not broken, f"not in docs/glossary.md: {broken}. Next: add the word, or link another"


def test_the_glossarys_own_links_lead_to_its_words() -> None:
    anchors = {anchor(word) for word in words()}
    links = re.findall(r"\]\(#([\w-]+)\)", GLOSSARY.read_text(encoding="utf-8"))
    assert set(links) <= anchors, sorted(set(links) - anchors)


def test_the_words_are_in_alphabetical_order_and_none_stands_twice() -> None:
    text = GLOSSARY.read_text(encoding="utf-8")
    headings = [heading.lower() for heading in re.findall(r"^## (.+)$", text, re.MULTILINE)]
    assert headings == sorted(set(headings))


def test_a_heading_whose_anchor_jupyterlab_would_not_find_has_one_before_it() -> None:
    """JupyterLab keeps capital letters in the anchor of a heading."""
    text = GLOSSARY.read_text(encoding="utf-8")
    before = re.findall(r'^<a id="([\w-]+)"></a>\n\n## (.+)$', text, re.MULTILINE)
    assert all(anchor(word) == given for given, word in before)
    capitals = {word for word in words() if word.replace(" ", "-") != anchor(word)}
    assert {word for _, word in before} == capitals


def test_an_entry_is_short() -> None:
    long = {word: len(text.split()) for word, text in words().items()}
    assert not {word: n for word, n in long.items() if n > MOST_WORDS}
    assert min(long.values()) > 1


def test_a_link_to_a_word_that_is_missing_is_found() -> None:
    text = "[a](../docs/glossary.md#hd95) and [b](../docs/glossary.md#hd-95)"
    assert broken_links(text, {"hd95"}) == ["hd-95"]
    assert broken_links(text, {"hd95", "hd-95"}) == []
    assert anchor("Monte Carlo passes") == "monte-carlo-passes"
    assert anchor("UA-MT") == "ua-mt"
