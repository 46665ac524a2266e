"""The one table of class names and colours; nothing else in the package knows how many classes there are."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from ssltut.errors import ConfigError


@dataclass(frozen=True)
class LabelTable:
    """Names and colours of the classes, in the order of their label values 0, 1, 2 ...

    Colours are from the Okabe-Ito palette, which stays apart for colour-blind readers.
    """

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
TABLES = {table.name: table for table in (HIP, BONE, ATRIUM)}
OKABE_ITO = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")


def table_named(table: object) -> LabelTable:
    """The table of that name, or one made of ``{"name": ..., "names": [...]}`` as a user's split.json has it (names[0] is background).

    Raises ConfigError for an unknown name, or for names that are fewer than two, doubled, or more than there are colours.
    """
    if not isinstance(table, Mapping):
        if table not in TABLES:
            raise ConfigError(f"there is no label table {table!r}",
                              fix=f"use one of {', '.join(TABLES)}, or name the classes in split.json")
        return TABLES[table]
    names = tuple(map(str, table.get("names", ())))
    if not 2 <= len(set(names)) == len(names) <= len(OKABE_ITO) + 1:
        raise ConfigError(f"a label table with the names {list(names)}",
                          fix=f"give 2 to {len(OKABE_ITO) + 1} different names, background first")
    colours = table.get("colours") or ("#000000", *OKABE_ITO)[: len(names)]
    return LabelTable(str(table.get("name", "own")), names, tuple(colours))


def to_bone(label: np.ndarray) -> np.ndarray:
    """The binary task of the paper: every bone is 1, the rest 0 (``label`` uint8, any shape)."""
    return (label > 0).astype(np.uint8)
