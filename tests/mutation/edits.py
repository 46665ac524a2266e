"""Single edits of a source file: what a slip of the hand would change."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

BINARY = {ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*"}
COMPARE = {ast.Lt: ">=", ast.LtE: ">", ast.Gt: "<=", ast.GtE: "<", ast.Eq: "!=", ast.NotEq: "=="}
NAMES = {
    **{"argmax": "argmin", "argmin": "argmax", "amax": "amin", "amin": "amax"},
    **{"max": "min", "min": "max", "mean": "sum", "mean_of": "sum_of"},
    **{"softmax": "log_softmax", "labelled": "unlabelled", "unlabelled": "labelled"},
}
DROPPED = ("detach", "square", "abs", "sqrt", "exp", "clamp")
GUARDS = ("no_grad", "eval_mode", "frozen_averages", "dropout_on")


class Edit(NamedTuple):
    """Text to put in place of what stands at ``start`` to ``end`` of a file."""

    file: str
    line: int
    start: int
    end: int
    new: str
    old: str

    def applied_to(self, text: str) -> str:
        raw = text.encode()
        return (raw[: self.start] + self.new.encode() + raw[self.end :]).decode()

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.old!r} -> {self.new!r}"


def edits_of(file: Path, root: Path) -> list[Edit]:
    """All edits of a file, in its order."""
    text = file.read_text(encoding="utf-8")
    lines = [0]
    for line in text.encode().splitlines(keepends=True):
        lines.append(lines[-1] + len(line))
    raw, found = text.encode(), []
    tree = ast.parse(text)
    facts = {id(node) for statement in ast.walk(tree) for node in facts_in(statement)}
    for node in ast.walk(tree):
        if id(node) in facts:
            continue
        for start, end, new in changes(node, lines, raw):
            old = raw[start:end].decode()
            if old != new:
                number = raw[:start].count(b"\n") + 1
                found.append(Edit(str(file.relative_to(root)), number, start, end, new, old))
    return sorted(set(found))


def facts_in(node: ast.AST) -> Iterator[ast.AST]:
    """What no test can know: the year in ``name, title, year = ...``, and the guard ``strict=``."""
    if isinstance(node, ast.Assign) and "year" in ast.unparse(node.targets[0]):
        yield from ast.walk(node.value)
    if isinstance(node, ast.keyword) and node.arg == "strict":
        yield from ast.walk(node.value)


def span(node: ast.expr | ast.stmt, lines: list[int]) -> tuple[int, int]:
    """Where a node stands in the bytes of its file."""
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    start = lines[node.lineno - 1] + node.col_offset
    return start, lines[node.end_lineno - 1] + node.end_col_offset


def changes(node: ast.AST, lines: list[int], raw: bytes) -> Iterator[tuple[int, int, str]]:
    """The edits that begin at one node of the syntax tree: from, to, new text."""
    if isinstance(node, ast.BinOp) and type(node.op) in BINARY and not is_text(node):
        left, right = span(node.left, lines)[1], span(node.right, lines)[0]
        between = raw[left:right].decode()
        for sign in "+-*/":
            if sign in between:
                yield left, right, between.replace(sign, BINARY[type(node.op)], 1)
                break
    elif isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in COMPARE:
        left, right = span(node.left, lines)[1], span(node.comparators[0], lines)[0]
        yield left, right, f" {COMPARE[type(node.ops[0])]} "
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not | ast.Invert):
        yield span(node, lines)[0], span(node.operand, lines)[0], ""
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        value = not node.value if isinstance(node.value, bool) else node.value * 2 + 1
        yield *span(node, lines), repr(value)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        owner = span(node.func.value, lines)[1]
        if node.func.attr in DROPPED:
            yield owner, span(node, lines)[1], ""
        elif node.func.attr in NAMES:
            yield owner, span(node.func, lines)[1], f".{NAMES[node.func.attr]}"
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in NAMES:
        yield *span(node.func, lines), NAMES[node.func.id]
    elif isinstance(node, ast.With):
        for item in node.items:
            text = raw[slice(*span(item.context_expr, lines))].decode()
            if any(guard in text for guard in GUARDS):
                nothing = "__import__('contextlib').nullcontext()"
                yield *span(item.context_expr, lines), nothing
    elif isinstance(node, ast.FunctionDef):
        for mark in node.decorator_list:
            start, end = span(mark, lines)
            if b"no_grad" in raw[start:end]:
                yield start - 1, end, ""


def is_text(node: ast.BinOp) -> bool:
    """Whether an operation joins texts or tuples, which no edit would leave running."""
    parts = (node.left, node.right)
    return any(
        isinstance(part, ast.JoinedStr | ast.Tuple | ast.List | ast.Dict)
        or (isinstance(part, ast.Constant) and isinstance(part.value, str))
        for part in parts
    )
