"""Class names and colours, and how others number the same bones."""

import os
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ssltut.errors import ConfigError, DataError, SsltutError
from ssltut.files import read_yaml
from ssltut.options import Colour, Name, check_content


@dataclass(frozen=True)
class LabelTable:
    """Names and colours (Okabe-Ito, safe for colour-blind readers) of the values 0, 1, 2 ..."""

    name: str
    names: tuple[str, ...]
    colours: tuple[str, ...]

    @property
    def n_classes(self) -> int:
        return len(self.names)

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


HIP = LabelTable("hip", ("background", "hip bone", "femur"), ("#000000", "#E69F00", "#56B4E9"))
BONE = LabelTable("bone", ("background", "bone"), ("#000000", "#E69F00"))
ATRIUM = LabelTable("atrium", ("background", "left atrium"), ("#000000", "#CC79A7"))
FOREGROUND = LabelTable("foreground", ("background", "foreground"), BONE.colours)
TABLES = {table.name: table for table in (HIP, BONE, ATRIUM)}
TABLE = {"name": Name, "names": list[Name], "colours": list[Colour]}  # in a file
OKABE_ITO = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")


def table_named(table: object) -> LabelTable:
    """The table of that name, or one made of ``{"name": ..., "names": [...]}``, background first.

    Raises ConfigError for an unknown name, for fewer than two, doubled or too many names, and for
    other colours than names; DataError for what is no name or colour (``TABLE``).
    """
    if not isinstance(table, Mapping):
        if not isinstance(table, str) or table not in TABLES:
            fix = f"use one of {', '.join(TABLES)}, or name the classes in split.json"
            raise ConfigError(f"there is no label table {table!r}", fix=fix)
        return TABLES[table]
    check_content(table, TABLE, "label table")
    names = tuple(table.get("names", ()))
    if not 2 <= len(set(names)) == len(names) <= len(OKABE_ITO) + 1:
        fix = f"give 2 to {len(OKABE_ITO) + 1} different names, background first"
        raise ConfigError(f"a label table with the names {list(names)}", fix=fix)
    colours = tuple(table.get("colours") or ("#000000", *OKABE_ITO)[: len(names)])
    if len(colours) != len(names):
        what = f"a label table with {len(names)} names and {len(colours)} colours"
        raise ConfigError(what, fix="give one for each name, or none")
    return LabelTable(table.get("name", "own"), names, colours)


@dataclass(frozen=True)
class LabelMap:
    """How the values in somebody's label files become the classes of ``table``.

    ``files`` says where the label of a scan lies: globs relative to its folder, {name} is its name
    without _0000, _data, _image, _img or _ct. Without them the names tell (``io/pairing.py``).
    """

    table: LabelTable
    values: Mapping[int, int]  # {value in the file: class}
    # Become background; None: all others do, else they are refused.
    rest: Collection[int] | None = (0,)
    masks: Mapping[str, int] = field(default_factory=dict)  # {file without ending: class}
    files: tuple[str, ...] = ()

    def __call__(self, label: np.ndarray, where: object) -> np.ndarray:
        """``label`` (any shape, whole numbers) as uint8 classes.

        Raises DataError that lists the values which are in neither ``values`` nor ``rest``.
        """
        values, inverse, counts = np.unique(label, return_inverse=True, return_counts=True)
        found = dict(zip(values.tolist(), counts.tolist(), strict=True))
        known = found if self.rest is None else {*self.values, *self.rest}
        unknown = [f"{v:.10g} ({n} voxels)" for v, n in found.items() if v not in known]
        if unknown:
            problem = f"{len(unknown)} label values are not in the mapping"
            fix = f"map them to {', '.join(self.table.names)}, or list them as background"
            raise DataError(f"{problem}: {', '.join(unknown[:8])}", where=where, fix=fix)
        classes = np.array([self.values.get(value, 0) for value in found], np.uint8)
        return classes[inverse].reshape(label.shape)


HIP_BONE = LabelTable("hip bone", ("background", "hip bone"), HIP.colours[:2])
BONE_FILES = {"hip_left": 1, "hip_right": 1, "femur_left": 2, "femur_right": 2}
LABEL_MAPS = {
    "hip": LabelMap(HIP, {1: 1, 2: 2}),
    # Version 2, with 117 classes.
    "totalsegmentator": LabelMap(HIP, {77: 1, 78: 1, 75: 2, 76: 2}, range(118), BONE_FILES),
    # Liu et al. 2021: 1 sacrum, 2 right hip, 3 left hip, 4 lumbar spine; femurs are background.
    "ctpelvic1k": LabelMap(HIP_BONE, {2: 1, 3: 1}, (0, 1, 4)),
}


def label_map(which: str) -> LabelMap:
    """The mapping of that name or in that YAML file (see README); ConfigError for neither."""
    if which in LABEL_MAPS:
        return LABEL_MAPS[which]
    if not os.path.lexists(which):
        fix = f"use {', '.join(LABEL_MAPS)} or a YAML file"
        raise ConfigError(f"there is no label mapping {which!r}", fix=fix)
    try:
        return _label_map_of(read_yaml(Path(which)))
    except SsltutError as error:
        problem = f"this is not a label mapping ({error.found})"
        raise ConfigError(problem, where=which, fix=error.fix) from None


MAPPING = {  # in a file
    "table": str | dict[str, Any],
    "values": dict[int, str | int] | None,
    "masks": dict[str, str | int] | None,
    "others": Literal["background"] | list[int] | None,
    "files": str | list[str] | None,
}


def _label_map_of(about: Any) -> LabelMap:
    fix = "write values: {5: femur}, others: background; see README"
    if not isinstance(about, dict) or set(about) - set(MAPPING):
        parts = "table, values {number: class}, masks {file: class}, others and files"
        raise ConfigError(f"its parts are {parts}", fix=fix)
    check_content(about, MAPPING, "label mapping")
    table = table_named(about.get("table", "hip"))
    numbers: dict[Any, int] = {name: i for i, name in enumerate(table.names)}
    numbers |= {i: i for i in range(table.n_classes)}
    values, masks = about.get("values") or {}, about.get("masks") or {}
    if unknown := [name for name in (*values.values(), *masks.values()) if name not in numbers]:
        what = f"there is no class {unknown[0]!r}"
        raise ConfigError(what, fix=f"use one of {', '.join(table.names)}")
    if not values and not masks:
        raise ConfigError("it has neither values nor masks", fix=fix)
    values = {value: numbers[name] for value, name in values.items()}
    masks = {file: numbers[name] for file, name in masks.items()}
    others, files = about.get("others"), about.get("files") or LabelMap.files
    rest = None if others == "background" else {0, *(others or ())}
    files = (files,) if isinstance(files, str) else tuple(files)
    return LabelMap(table, values, rest, masks, files)
