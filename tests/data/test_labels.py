"""Label tables and mappings: the values of others become the classes of a table, or are refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from ssltut.data.labels import (
    ATRIUM,
    BONE,
    HIP,
    LABEL_MAPS,
    TABLES,
    label_map,
    table_named,
)
from ssltut.errors import ConfigError, DataError


def test_tables_by_name_and_by_their_classes():
    assert [table_named(name) for name in TABLES] == [HIP, BONE, ATRIUM]
    assert table_named(json.loads(json.dumps(HIP.to_dict()))) == HIP
    own = table_named({"names": ["background", "liver", "spleen", "kidney"]})
    assert own.n_classes == 4 == len(set(own.colours))
    assert own.name == "own"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("knee", "no label table 'knee'"),
        (None, "no label table None"),
        ({"names": ["background"]}, "names"),
        ({}, "names"),
        ({"names": ["a", "a"]}, "different names"),
        ({"names": [str(i) for i in range(9)]}, "2 to 8 different names"),
    ],
)
def test_impossible_tables_are_refused(table, words):
    with pytest.raises(ConfigError, match=words):
        table_named(table)


def test_mappings_by_name() -> None:
    total = LABEL_MAPS["totalsegmentator"](np.array([0, 25, 75, 76, 77, 78, 117], np.uint8), "x")
    assert total.tolist() == [0, 0, 2, 2, 1, 1, 0]
    assert total.dtype == np.uint8
    assert LABEL_MAPS["ctpelvic1k"](np.array([[0, 1], [2, 3], [4, 4]]), "x").tolist() == [
        [0, 0],
        [1, 1],
        [0, 0],
    ]
    with pytest.raises(
        DataError, match=r"1 label values are not in the mapping: 118 \(2 voxels\).*hip bone"
    ):
        LABEL_MAPS["totalsegmentator"](np.array([118, 118, 0]), "x")


def test_mappings_from_yaml(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        "table: {name: knee, names: [background, femur, tibia]}\nvalues: {5: femur, 9: 2}\nothers:"
        " [3]\nfiles: '{name}_m.nii'\n"
    )
    mine = label_map(str(tmp_path / "m.yaml"))
    assert mine.table.names[2] == "tibia"
    assert mine.files == ("{name}_m.nii",)
    assert mine(np.array([5, 9, 3, 0]), "x").tolist() == [1, 2, 0, 0]
    with pytest.raises(DataError, match="4 "):
        mine(np.array([4]), "x")
    (tmp_path / "m.yaml").write_text("values: {5: femur}\nothers: background\n")
    assert label_map(str(tmp_path / "m.yaml"))(np.array([5, 4, 300]), "x").tolist() == [2, 0, 0]
    assert label_map("hip") is LABEL_MAPS["hip"]


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2]",
        "values: {5: wing}",
        "values: {five: femur}",
        "colour: red\nvalues: {5: femur}",
        "others: background",
        "a: b: c",
        "",
        "values: 5",
        "values: {5: femur}\nothers: all",
    ],
)
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(ConfigError, match="not a label mapping") as caught:
        label_map(str(tmp_path / "m.yaml"))
    assert "\n" not in str(caught.value)


def test_an_unknown_mapping_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no label mapping 'nowhere'.*totalsegmentator"):
        label_map("nowhere")
