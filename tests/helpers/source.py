"""The source of the package as data: what imports what, and how long it is. Nothing is run."""

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "ssltut"
MODULES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def listed(found: Iterable[object]) -> str:
    """All of it below each other: pytest cuts a long list."""
    return "\n".join(map(str, found))


@cache
def parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def n_lines(file: Path) -> int:
    return len(file.read_text(encoding="utf-8").splitlines())


def name_of(file: Path, root: Path = ROOT) -> str:
    """ssltut/data/case.py is ssltut.data.case; ssltut/data/__init__.py is ssltut.data."""
    return ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def imported_names(tree: ast.Module) -> Iterator[str]:
    """Full dotted names, wherever the import stands; ``from a import b`` is a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import hides its layer"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def module_of(name: str, modules: set[str]) -> str | None:
    """The module of the package that has what is imported as ``name``; None outside of it."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None


def import_graph(files: list[Path], root: Path = ROOT) -> dict[str, set[str]]:
    """Which module of the package imports which."""
    modules = {name_of(file, root) for file in files}
    graph = {}
    for file in files:
        found = {module_of(name, modules) for name in imported_names(parse(file))}
        graph[name_of(file, root)] = {name for name in found if name}
    return graph


def read_layers(text: str) -> list[list[str]]:
    """The block of docs/architecture.md, lowest first: one floor a line, a/b is b in room a."""
    (block,) = re.findall(r"```layers\n(.*?)```", text, flags=re.DOTALL)
    return [line.replace("/", ".").split() for line in block.splitlines()]


def layer_of(module: str, layers: list[list[str]]) -> tuple[int, str] | None:
    """Number and name of the layer, by the longest name of the list that fits; None: no layer."""
    numbers = {f"ssltut.{name}": n for n, names in enumerate(layers) for name in names}
    layer = module_of(module, set(numbers))
    return (numbers[layer], layer) if layer else None


def upward_imports(graph: dict[str, set[str]], layers: list[list[str]]) -> list[str]:
    """Imports of another layer that is not below the importing module's own."""
    found = []
    for module, imported in graph.items():
        own = layer_of(module, layers)
        for name in sorted(imported):
            other = layer_of(name, layers)
            if own and other and own[1] != other[1] and own[0] <= other[0]:
                found.append(f"{module} imports {name}")
    return found


def circle_in(graph: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def long_lines(file: Path, limit: int) -> list[int]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return [n for n, line in enumerate(lines, 1) if len(line) > limit]


def long_functions(tree: ast.Module, limit: int) -> list[tuple[str, int]]:
    """Name and lines, from ``def`` to the last."""
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = [(f.name, (f.end_lineno or 0) - f.lineno + 1) for f in functions]
    return [(name, length) for name, length in lengths if length > limit]


def short(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def options_of(tree: ast.Module, name: str) -> list[str]:
    """The annotated fields of a class, which are its options; ClassVar is none."""
    (node,) = (n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name)
    fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
    return [ast.unparse(f.target) for f in fields if "ClassVar" not in ast.unparse(f.annotation)]


def unused(requirements: list[str], text: str) -> list[str]:
    """The requirements none of whose importable names stand in ``text`` as a word."""
    names: dict[str, list[str]] = {}
    for name, distributions in packages_distributions().items():
        for distribution in distributions:
            names.setdefault(canonicalize_name(distribution), []).append(name)
    found = []
    for requirement in map(Requirement, requirements):
        own = names.get(canonicalize_name(requirement.name), [requirement.name.replace("-", "_")])
        if not any(re.search(rf"\b{re.escape(name)}\b", text) for name in own):
            found.append(requirement.name)
    return found
