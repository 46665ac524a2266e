"""The table of options in the docstring of each method: what is published, what is ours, and why.

A block of aligned columns, at least two spaces between them; a long reason goes on below itself:

    option      published  ours   why
    weight      0.1        0.2    the published loss is half of cross-entropy + Dice,
                                  ours the whole

A method that extends another leaves out the options that are the same there.
"""

import inspect
import math
import re
from dataclasses import fields
from fractions import Fraction
from typing import NamedTuple

import pytest

from ssltut.methods.contract import Method
from ssltut.methods.registry import METHODS

HEAD = re.compile(r"option {2,}published {2,}ours {2,}why$", re.MULTILINE)


class Row(NamedTuple):
    option: str
    published: str
    ours: str
    why: str


def rows_of(text: str) -> list[Row]:
    """The rows of the one table in ``text``, a docstring without its indentation."""
    (head,) = HEAD.finditer(text)
    column = head[0].index("why")
    rows: list[Row] = []
    for line in text[head.end() + 1 :].splitlines():
        if not line.strip():
            break
        if line.startswith(" "):
            assert line[:column].isspace(), f"not under its reason: {line}"
            rows[-1] = rows[-1]._replace(why=f"{rows[-1].why} {line.strip()}")
        else:
            cells = re.split(r" {2,}", line.rstrip(), maxsplit=3)
            assert len(cells) >= 3, f"a row of {len(cells)} cells: {line}"
            rows.append(Row(*cells[:3], why="".join(cells[3:])))
    return rows


def docstring(name: str) -> str:
    """That of the method itself, not of its parent."""
    return inspect.cleandoc(METHODS[name].__dict__["__doc__"])


def options_of(kind: type[Method]) -> dict[str, object]:
    """The options with their defaults, without the one that every method has."""
    return {f.name: f.default for f in fields(kind) if f.name != "sigma_student"}


def says(cell: str, value: object) -> bool:
    """Whether a cell holds a value: as Python prints it, or as the same number."""
    if isinstance(value, float):
        try:
            return math.isclose(Fraction(cell), value)
        except ValueError:
            return False
    return cell in (str(value), repr(value))


@pytest.mark.parametrize("name", METHODS)
def test_every_option_has_a_row_with_its_default_and_a_reason_where_it_is_not_published(name):
    options = options_of(METHODS[name])
    text = docstring(name)
    if not options:
        assert not HEAD.search(text), "a table of no options"
        return
    rows = rows_of(text)
    left_out = set(options) - {row.option for row in rows}
    assert len(rows) == len(options) - len(left_out)
    # What is the same in the method it extends has its row there.
    parent = METHODS[name].__base__
    theirs = options_of(parent) if parent in METHODS.values() else {}
    assert {option: options[option] for option in left_out}.items() <= theirs.items()
    for row in rows:
        assert says(row.ours, options[row.option]), f"{row.option} is {options[row.option]!r}"
        differs = not says(row.published, options[row.option])
        assert row.why or not differs, f"{row.option}: why?"


def test_rows_are_read_as_they_stand():
    text = "The term.\n\noption  published    ours  why\na       0.1          2/3   one reason"
    text += "\n                           on two lines\nuse     ('UA', 'NN')  True\n\nMore."
    assert rows_of(text) == [
        ("a", "0.1", "2/3", "one reason on two lines"),
        ("use", "('UA', 'NN')", "True", ""),
    ]
    with pytest.raises(AssertionError, match="not under its reason"):
        rows_of("option  published  ours  why\na  1  2\n   why")
    with pytest.raises(AssertionError, match="a row of 2 cells"):
        rows_of("option  published  ours  why\na  1")


@pytest.mark.parametrize(
    ("cell", "value", "same"),
    [
        *(("2/3", 2 / 3, True), ("0.1", 0.2, False), ("-", 0.1, False), ("1", 1.0, True)),
        *(("True", True, True), ("1", True, False), ("8", 8, True), ("ce", "ce", True)),
        *(("'ce'", "ce", True), ("dice", "ce", False), ("(1, 2)", (1, 2), True)),
    ],
)
def test_a_cell_holds_a_value(cell, value, same):
    assert says(cell, value) == same
