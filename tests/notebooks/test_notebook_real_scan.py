"""Notebook 01 on a real CT: both hips are found, measured and shown."""

from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest
import tool
import tour

from ssltut.io.public import CT, EXAMPLE, SEGMENTATION

NOTEBOOK = tool.HERE / "solutions" / "01_loading_hip_ct.ipynb"


@pytest.fixture(scope="module")
def example(shared: Path) -> Path:
    """The TotalSegmentator example: a pelvis at 3 mm, a metal nail in the left femur."""
    folder = shared / EXAMPLE
    if missing := [name for name in (CT, SEGMENTATION) if not (folder / name).is_file()]:
        pytest.skip(f"no real CT: {folder} has no {' and no '.join(missing)}")
    return folder


def execute(scan: Path, folder: Path) -> tuple[nbformat.NotebookNode, pd.DataFrame]:
    """Run the solution copy on ``scan``; the executed notebook and its numbers."""
    tour.environment()
    values = {"profile": "smoke", "scan": str(scan), "out": str(folder)}
    book = papermill.execute_notebook(
        NOTEBOOK,
        folder / "01.ipynb",
        values,
        kernel_name="python3",
        cwd=folder,
        progress_bar=False,
        execution_timeout=tour.TIMEOUT_S["smoke"],
        extra_arguments=["--log-level=ERROR"],
    )
    return book, pd.read_csv(folder / f"{NOTEBOOK.stem}.csv")


def pictures(book: nbformat.NotebookNode) -> list[str]:
    """The alt texts of all pictures."""
    outputs = (
        output
        for cell in book.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    )
    return [output.metadata["image/png"]["alt"] for output in outputs]


def test_both_hips_of_a_real_scan_are_found_and_shown(example: Path, tmp_path: Path) -> None:
    book, table = execute(example / CT, tmp_path)
    volume = table.set_index("quantity").value
    for side in ("left", "right"):  # ml of an adult in a cube of 160 mm, cut off below
        assert 100 < volume[f"hip bone volume, {side} hip"] < 300
        assert 80 < volume[f"femur volume, {side} hip"] < 200
    assert volume["voxel size, axis x"] == pytest.approx(3.0)
    assert sum("both hips of a real CT" in alt for alt in pictures(book)) == 1
    assert len(pictures(book)) == 6


def test_a_scan_without_label_is_shown_too(example: Path, tmp_path: Path) -> None:
    scan = tmp_path / "mine.nii.gz"
    scan.write_bytes((example / CT).read_bytes())
    book, table = execute(scan, tmp_path)
    assert not table.quantity.str.contains("volume").any()
    assert len(pictures(book)) == 5
    assert "No labelled real scan here" in str([cell.get("outputs") for cell in book.cells])
