"""The pages that show what ingest took in: one a case, with a picture, and an index."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ssltut.data.case import Case, spacing_of
from ssltut.data.labels import LabelTable
from ssltut.errors import DataWarning
from ssltut.show.static.slices import planes
from ssltut.text import markup

COLUMNS = ["case", "patient", "voxels", "spacing (mm)", "labels", "warnings"]
PAGE = """<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>
<style>body{{font:17px sans-serif;max-width:70em;margin:2em auto}}
td,th{{padding:.2em 1em .2em 0;text-align:left}}img{{max-width:100%}}</style>
<h1>{title}</h1>
{body}</html>
"""


def volumes(case: Case, table: LabelTable) -> dict[str, float]:
    """The volume in ml of every class that is there, background left out."""
    if case.label is None:
        return {}
    counts = np.bincount(case.label.ravel(), minlength=table.n_classes)
    voxel_ml = np.prod(case.spacing) / 1000
    pairs = zip(table.names[1:], counts[1:], strict=True)
    return {name: float(n * voxel_ml) for name, n in pairs if n}


def facts_of(
    case: Case, table: LabelTable, kind: str, warnings: Sequence[DataWarning]
) -> dict[str, object]:
    """What a report says of a case; ``kind`` is the format it came in."""
    grid = case.meta["grid"]
    values = "HU" if case.meta["modality"] == "CT" else "values"
    labels = ", ".join(f"{name} {ml:.1f} ml" for name, ml in volumes(case, table).items())
    extent = np.multiply(case.image.shape, case.spacing)
    hip = "{side}, found by its {found by}" if "side" in case.meta else "not cropped"
    return {
        "case": case.id,
        "patient": case.patient,
        "from": kind,
        "voxels": " x ".join(map(str, case.image.shape)),
        "spacing (mm)": _sizes(case.spacing),
        "field of view (mm)": " x ".join(f"{mm:.0f}" for mm in extent),
        "in the file": f"{' x '.join(map(str, grid['shape']))} voxels of"
        f" {_sizes(spacing_of(grid['affine']))} mm, axes {grid['axes']}",
        values: f"{case.image.min():g} to {case.image.max():g}",
        "padding (voxels)": case.meta["padding"],
        "labels": labels or "none",
        "hip": hip.format(**case.meta),
        "warnings": "; ".join(warning.found for warning in warnings) or "none",
    }


def _sizes(spacing: Sequence[float]) -> str:
    return " x ".join(f"{mm:.3g}" for mm in spacing)


def write_report(case: Case, table: LabelTable, facts: dict[str, object], folder: Path) -> None:
    """Write ID.html and ID.png: the facts of a case, and its planes with the labels outlined."""
    folder.mkdir(exist_ok=True)
    outlined = "with its labels outlined" if case.label is not None else "without labels"
    alt = f"{case.id} in axial, coronal and sagittal cut, {outlined}; a field of view of"
    alt += f" {facts['field of view (mm)']} mm."
    window = "bone" if case.meta["modality"] == "CT" else None
    options: dict[str, Any] = {"table": table, "window": window, "title": case.id, "alt": alt}
    if case.label is not None:
        at = _planes_through_all_classes(case.label, table.n_classes)
        options |= {"contours": {"label": case.label}, "at": at}
    planes(case.image, spacing=case.spacing, **options).save(folder / f"{case.id}.png")
    image = f'<img src="{markup(case.id)}.png" alt="{markup(alt)}">'
    rows = pd.DataFrame({"value": facts}).map(markup).to_html(header=False, escape=False, border=0)
    body = f'{image}{rows}<p><a href="index.html">all cases</a>'
    _write_page(folder / f"{case.id}.html", case.id, body)


def write_index(rows: Sequence[dict[str, object]], summary: str, folder: Path) -> None:
    """Write index.html: a line for each case, with a link to its page."""
    frame = pd.DataFrame(rows)[COLUMNS].map(markup)
    frame["case"] = [f'<a href="{name}.html">{name}</a>' for name in frame["case"]]
    cases = frame.to_html(index=False, escape=False, border=0)
    body = f"<p>{markup(summary)} (the command named their files).</p>{cases}"
    _write_page(folder / "index.html", "Ingested scans", body)


def _write_page(path: Path, title: str, body: str) -> None:
    path.write_text(PAGE.format(title=markup(title), body=body), encoding="utf-8")


def _planes_through_all_classes(label: np.ndarray, n_classes: int) -> list[int]:
    """The voxel whose planes show most of every class: the middle of a pelvis shows no hip."""
    counts = [
        [np.count_nonzero(label == c, axis=others) for c in range(1, n_classes)]
        for others in ((1, 2), (0, 2), (0, 1))
    ]
    return [int(np.log1p(axis).sum(axis=0).argmax()) for axis in counts]
