"""The one table of class names and colours; nothing else in the package knows how many classes there are."""

from dataclasses import dataclass

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


HIP = LabelTable("hip", ("background", "hip bone", "femur"), ("#000000", "#E69F00", "#56B4E9"))
BONE = LabelTable("bone", ("background", "bone"), ("#000000", "#E69F00"))
ATRIUM = LabelTable("atrium", ("background", "left atrium"), ("#000000", "#CC79A7"))
TABLES = {table.name: table for table in (HIP, BONE, ATRIUM)}


def table_named(name: str) -> LabelTable:
    """The table called ``name``. Raises ConfigError for an unknown one."""
    if name not in TABLES:
        raise ConfigError(f"there is no label table {name!r}", fix=f"use one of {', '.join(TABLES)}")
    return TABLES[name]


def to_bone(label: np.ndarray) -> np.ndarray:
    """The binary task of the paper: every bone is 1, the rest 0 (``label`` uint8, any shape)."""
    return (label > 0).astype(np.uint8)
