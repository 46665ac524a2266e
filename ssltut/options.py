"""Options that check themselves: the annotation of a dataclass field says what it may be.

``Literal["a", "b"]`` one of these words; ``tuple[Literal["a", "b"], ...]`` some of them;
``Annotated[float, Range(0, 1)]`` a number within bounds; a union is what one of its parts allows.
"""

import difflib
import json
import re
import reprlib
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, fields
from importlib import import_module
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from ssltut.errors import ConfigError, DataError, SsltutError


class Range(NamedTuple):
    """Bounds of a number: ``low`` itself is allowed unless ``above``, ``high`` unless ``below``."""

    low: float = float("-inf")
    high: float = float("inf")
    above: bool = False
    below: bool = False

    def holds(self, value: float) -> bool:
        at_least = value > self.low if self.above else value >= self.low
        at_most = value < self.high if self.below else value <= self.high
        return at_least and at_most

    def __str__(self) -> str:
        parts = []
        if self.low > float("-inf"):
            parts.append(f"above {self.low:g}" if self.above else f"of at least {self.low:g}")
        if self.high < float("inf"):
            parts.append(f"below {self.high:g}" if self.below else f"of at most {self.high:g}")
        return " and ".join(parts)


class Pattern(NamedTuple):
    """A text that matches ``regex`` as a whole, which ``words`` say in a message."""

    regex: str
    words: str

    def holds(self, value: str) -> bool:
        return value.isprintable() and re.fullmatch(self.regex, value) is not None

    def __str__(self) -> str:
        return self.words


class Odd(NamedTuple):
    """A whole number that is odd and at least 1, such as the side of a cube around a voxel."""

    def holds(self, value: int) -> bool:
        return value >= 1 and value % 2 == 1

    def __str__(self) -> str:
        return "that is odd and at least 1"


# May go into a table, a picture or a page as it is.
PLAIN = Pattern('[^<>&"]{1,60}', 'of 1 to 60 characters that can be printed, none of < > & "')
Name = Annotated[str, PLAIN]
Colour = Annotated[str, Pattern("#[0-9a-fA-F]{6}", "such as #E69F00")]
Count = Annotated[int, Range(1)]
WholeNumber = Annotated[int, Range(0)]
Share = Annotated[float, Range(0, 1, below=True)]
OpenShare = Annotated[float, Range(0, 1, above=True, below=True)]
Fraction = Annotated[float, Range(0, 1)]
Positive = Annotated[float, Range(0, above=True)]
NotNegative = Annotated[float, Range(0)]
OddCount = Annotated[int, Odd()]


def flaw(value: object, annotation: Any) -> str | None:
    """What to give instead of ``value``; None where the annotation allows it."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return None if value in parts else f"use one of {', '.join(map(str, parts))}"
    if origin is Annotated:
        bounds = parts[1]
        if wrong := flaw(value, parts[0]):
            return f"{wrong} {bounds}"
        return None if bounds.holds(value) else f"give a number {bounds}"
    if origin in (Union, types.UnionType):
        wrongs = [wrong for part in parts if (wrong := flaw(value, part))]
        return " or ".join(wrongs) if len(wrongs) == len(parts) else None
    if origin is tuple and get_origin(parts[0]) is Literal:
        words = get_args(parts[0])
        good = isinstance(value, tuple) and set(value) <= set(words)
        return None if good else f"choose among {', '.join(words)}"
    if annotation in (int, float) and type(value) is not annotation:
        return "give a number"
    return None


def check_options(options: Any, where: str) -> None:
    """ConfigError for the first field of a dataclass whose annotation does not allow its value."""
    hints = get_type_hints(type(options), include_extras=True)
    for field in fields(options):
        value = getattr(options, field.name)
        if wrong := flaw(value, hints[field.name]):
            raise ConfigError(f"{field.name} is {value!r}", where=where, fix=wrong)


def given(value: object, field: Field, where: str) -> object:
    """An option from a command line or JSON as the type of its default, else ConfigError."""
    default = field.default
    if isinstance(default, tuple):
        if isinstance(value, str):
            return tuple(value.split(","))
        if isinstance(value, list | tuple):
            return tuple(value)
    if isinstance(default, float) and type(value) is int:
        return float(value)
    mixed = get_origin(field.type) in (Union, types.UnionType)
    if not mixed and type(value) is not type(default):
        fix = f"give a value like {default}"
        raise ConfigError(f"option {field.name} is {json.dumps(value)}", where=where, fix=fix)
    return value


def near(name: str, names: Iterable[str]) -> str:
    """What a misspelt name may mean, or which names there are."""
    known = list(names)
    close = difflib.get_close_matches(name, known, 1)
    return f"did you mean {close[0]}?" if close else f"use one of {', '.join(known)}"


def chosen(kind: type, options: Mapping[str, object], where: str) -> dict[str, Any]:
    """Each option as the type of its default. Raises ConfigError for an unknown name."""
    known = {field.name: field for field in fields(kind)}
    for name in options:
        if name not in known:
            fix = f"its options are {', '.join(known)}"
            raise ConfigError(f"there is no option {name!r}", where=where, fix=fix)
    return {name: given(value, known[name], where) for name, value in options.items()}


WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    types.NoneType: "null",
}


def fits(value: Any, kind: Any) -> bool:
    """Whether what a JSON or YAML file holds is of this kind.

    A kind is text, a number or a bool, ``list[X]``, ``dict[K, X]``, a tuple (a list of this length
    in the file), ``X | Y``, or what may stand at an option.
    """
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if origin is Annotated:
        return fits(value, parts[0]) and parts[1].holds(value)
    if origin is Literal:
        return value in parts
    if origin in (Union, types.UnionType):
        return any(fits(value, part) for part in parts)
    if origin is list:
        return isinstance(value, list | tuple) and all(fits(item, parts[0]) for item in value)
    if origin is tuple:
        is_list = isinstance(value, list | tuple) and len(value) == len(parts)
        return is_list and all(map(fits, value, parts))
    if origin is dict:
        is_table = isinstance(value, dict)
        return is_table and all(fits(k, parts[0]) and fits(v, parts[1]) for k, v in value.items())
    if kind is float:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max  # NaN is not
    return type(value) is kind


def described(kind: Any) -> str:
    """A kind of ``fits`` in words."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return f"{described(parts[0])} {parts[1]}"
    if origin is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if origin in (Union, types.UnionType):
        return " or ".join(map(described, parts))
    if origin in (list, tuple):
        return f"a list of {described(parts[0])}"
    if origin is dict:
        return f"a table with {described(parts[1])} for each entry"
    return WORDS.get(kind, "anything")


def check_content(
    content: Mapping[str, Any],
    kinds: Mapping[str, Any],
    where: object,
    need: Iterable[str] = (),
    error: type[SsltutError] = DataError,
) -> None:
    """``error`` for the first entry of a file that is not of its kind, or that it lacks."""
    if lacking := [name for name in need if name not in content]:
        fix = f"give {lacking[0]}: {described(kinds[lacking[0]])}"
        raise error(f"there is no {', '.join(lacking)}", where=where, fix=fix)
    for name, kind in kinds.items():
        if name in content and not fits(content[name], kind):
            what = f"{name} is {reprlib.repr(content[name])}"
            raise error(what, where=where, fix=f"give {described(kind)}")


def check_parameters(names: Mapping[str, Any], **kinds: Any) -> None:
    """ConfigError for a parameter that a notebook does not know, or that is of another kind.

    ``names`` are the notebook's ``globals()``. papermill puts its parameters into a cell of theirs.
    """
    kinds["profile"] = Literal["smoke", "class", "full"]
    kinds |= {name: Literal[True, False] for name, kind in kinds.items() if kind is bool}
    cells = [cell for cell in names.get("In", []) if cell.startswith("# Parameters\n")]
    for name in re.findall(r"^(\w+) = ", "\n".join(cells), re.MULTILINE):
        if name not in kinds:
            raise ConfigError(f"this notebook has no parameter {name!r}", fix=near(name, kinds))
    check_content(names, kinds, "the parameters", error=ConfigError)


def function_named(where: str, what: str, fix: str) -> Callable[..., Any]:
    """The function, or class, that makes a ``what``. ConfigError where there is none."""
    module, _, function = where.partition(":")
    try:
        return getattr(import_module(module), function)
    except (ImportError, AttributeError, TypeError, ValueError) as error:  # no or half a name, too
        raise ConfigError(f"there is no {what} {where!r} ({error})", fix=fix) from None
