"""Views of the site that move without a kernel: scenes of plotly, and slices cut out of tiles.

They are those of the notebooks at the size of a class, with the teacher that ships: nothing is
trained. Each is a script that puts its data where ``_static/views.js`` finds them, and a still
picture that stays where scripts do not run.
"""

import base64
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
import plotly.io
from matplotlib import colormaps
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from PIL import Image

from ssltut import inspection, make_method, profile_named, show, synthetic_cohort
from ssltut.data.case import Case
from ssltut.data.cohort import Cohort
from ssltut.show.live.scene3d import layout, traces
from ssltut.show.static.pictures import UNCERTAINTY, Picture, picture
from ssltut.show.static.scene3d import MatchScene, answered_surface, arrange_matches, matches_figure
from ssltut.show.static.slices import PLANES, Scene, planes_figure
from ssltut.text import markup
from ssltut.training.run import Run
from ssltut.training.shipped import trained_run

COLUMNS = 8  # of tiles in a picture of all slices of a plane
LEVELS = 6  # steps of the colours of uncertainty: a colour stands for a number
LINES = 60  # matches between two scans


class View(NamedTuple):
    """What a script is told, and the picture that is there without it."""

    data: dict[str, Any]
    still: Picture


class Patient(NamedTuple):
    """The patient of notebook 00 and what its teacher says: answers, and entropy in nats."""

    case: Case
    said: np.ndarray
    unsure: np.ndarray


def patient_of(teacher: Run) -> Patient:
    """A hip that the teacher has never seen, with the wrong cap on its femur."""
    case = synthetic_cohort(**profile_named("class").cohort, seed=3).case("hip008")
    unsure = inspection.uncertainty_map(teacher, case, seed=0).mean_of_entropies
    return Patient(case, teacher.predict(case), unsure)


def scene_view(scene: MatchScene, alt: str, hover: Sequence[Any] = (), **look: Any) -> View:
    """A scene to turn; ``hover`` are the words at the vertices of its meshes, one array for all."""
    figure = go.Figure(traces(scene), {**layout(None), "height": 460, **look})
    figure.layout.template = plotly.io.templates["none"]
    if len(hover):
        for trace in figure.data[: len(scene.meshes)]:
            trace.update(text=hover, hoverinfo="text")
    drawn = json.loads(plotly.io.to_json(figure, validate=False))
    data = {
        "kind": "scene",
        "far": 1.5 if scene.matches else 1.0,
        "data": drawn["data"],
        "layout": drawn["layout"],
    }
    return View(data, picture(matches_figure(scene), alt))


def femur_view(patient: Patient, cohort: Cohort) -> View:
    """The femur of notebook 00 in the colours of what the teacher calls it."""
    case, names = patient.case, cohort.table.names
    found = answered_surface(case.label, patient.said, 2, case.spacing, cohort.table)
    hover = [
        f"voxel {tuple(map(int, at))}<br>truth: {names[case.label[at]]}<br>teacher:"
        f" {names[said]}<br>entropy: {patient.unsure[at]:.2f} nats"
        for at, said in zip(map(tuple, found.voxels), found.said, strict=True)
    ]
    alt = "A femur in the colours of what the teacher calls it: blue, femur, and an orange patch"
    return scene_view(found.drawn, f"{alt} behind its lower end, hip bone.", hover)


def lines_view(teacher: Run, cohort: Cohort) -> View:
    """Voxels where the teacher is unsure, as in the README's picture, and what they resemble."""
    target, source = cohort.validation()[0], cohort.training("labelled")[0]
    unsure = inspection.uncertainty_map(teacher, target, seed=0).mean_of_entropies
    query = np.argwhere(unsure >= np.quantile(unsure, 0.97))
    query = query[np.random.default_rng(0).permutation(len(query))[:LINES]]
    fields = [inspection.embedding_map(teacher, case) for case in (target, source)]
    found = inspection.correspond(
        fields[0], query, fields[1], source.label, k=1, n_classes=cohort.table.n_classes, seed=0
    )
    agree = found.reference_class[:, 0] == target.label[tuple(query.T)]
    bones = [
        [show.surface(c.label, n, spacing=c.spacing, table=cohort.table) for n in (1, 2)]
        for c in (target, source)
    ]
    ends = (query * target.spacing, found.reference[:, 0] * source.spacing)
    scans = (f"unlabelled {target.id}", f"labelled {source.id}")
    kinds = ("match of the right class", "match of a wrong class")
    alt = (
        f"Bones of two scans side by side, and {len(query)} lines from voxels where the teacher"
        f" is unsure to the labelled voxels they resemble most: {agree.sum()} of the right class,"
        " thin blue lines with round ends; the others thick, orange and square."
    )
    return scene_view(arrange_matches(bones, *ends, agree, scans, kinds), alt)


def tiles(slices: np.ndarray) -> str:
    """All slices of a plane, (n, rows, columns, channels) uint8, in one picture: a data address."""
    n, rows, columns, channels = slices.shape
    room = np.zeros((-(-n // COLUMNS) * COLUMNS, rows, columns, channels), np.uint8)
    room[:n] = slices
    grid = room.reshape(-1, COLUMNS, rows, columns, channels).swapaxes(1, 2)
    image = Image.fromarray(grid.reshape(-1, COLUMNS * columns, channels).squeeze())
    buffer = io.BytesIO()
    image.save(buffer, "png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def tiled(colours: np.ndarray) -> dict[str, str]:
    """{plane: tiles} of a volume (X, Y, Z, channels); head up, and the patient's right (sagittal:
    front) on the left.
    """
    made = {}
    for plane, (cut, across, up, _) in PLANES.items():
        made[plane] = tiles(colours.transpose(cut, up, across, 3)[:, ::-1, ::-1])
    return made


def painted(label: np.ndarray, colours: Mapping[int, str]) -> np.ndarray:
    """(X, Y, Z, 4) uint8: each value of ``label`` in its colour, the others transparent."""
    paint = np.zeros((int(label.max()) + 1, 4), np.uint8)
    for value, colour in colours.items():
        if value < len(paint):
            paint[value] = [*(round(255 * part) for part in to_rgb(colour)), 255]
    return paint[label]


def slices_view(patient: Patient, cohort: Cohort) -> View:
    """The slices of notebook 00: truth, the teacher's answer, its errors and its entropy."""
    case, names, colours = patient.case, cohort.table.names, cohort.table.colours
    scene = Scene(
        case.image, case.spacing, overlay=patient.said, table=cohort.table,
        at=show.densest((case.label == 2) & (patient.said == 1), case.label),
    )  # fmt: skip
    low, high = scene.limits
    grey = (255 * ((case.image - low) / (high - low)).clip(0, 1)).astype(np.uint8)
    classes = {k: colours[k] for k in range(1, len(names))}
    wrong = np.uint8(patient.said != case.label)
    step = patient.unsure.max() / LEVELS
    level = np.minimum(patient.unsure / step, LEVELS - 1).astype(np.uint8)
    heat = {k: to_hex(colormaps[UNCERTAINTY]((k + 0.5) / LEVELS)) for k in range(1, LEVELS)}
    named = {colours[k]: names[k] for k in classes} | {"": names[0]}
    nats = {heat[k].upper(): f"{k * step:.2f} to {(k + 1) * step:.2f} nats" for k in heat}
    data = {
        "kind": "slices",
        "shape": case.image.shape,
        "spacing": case.spacing,
        "at": scene.centre,
        "columns": COLUMNS,
        "zoom": 6,
        "image": tiled(grey[..., None]),
        "layers": {
            "teacher": tiled(painted(patient.said, classes)),
            "truth": tiled(painted(case.label, classes)),
            "error": tiled(painted(wrong, {1: "#D55E00"})),
            "entropy": tiled(painted(level, heat)),
        },
        "keys": {
            "truth": named,
            "teacher": named,
            "entropy": nats | {"": f"below {step:.2f} nats"},
        },
    }
    alt = "A hip in three planes with the teacher's answer: a part of the femur has the colour of"
    figure: Figure = planes_figure(scene, titled=False)
    return View(data, picture(figure, f"{alt} the hip bone."))


def views() -> dict[str, View]:
    """All views of the site."""
    profile = profile_named("class")
    cohort = synthetic_cohort(**profile.cohort)
    teacher = trained_run(make_method("labels_only"), cohort, profile.teacher)
    patient = patient_of(teacher)
    return {
        "femur": femur_view(patient, cohort),
        "slices": slices_view(patient, cohort),
        "lines": lines_view(teacher, cohort),
    }


def write(source: Path, made: Mapping[str, View]) -> dict[str, str]:
    """The scripts and pictures of views, below ``source``; returns the HTML of each by its name in
    capitals, and of the scripts as SCRIPTS.
    """
    folder = source / "_static" / "views"
    folder.mkdir(parents=True, exist_ok=True)
    plotly_script = files("plotly") / "package_data" / "plotly.min.js"
    shutil.copy(str(plotly_script), source / "_static" / "plotly.min.js")
    names = ["plotly.min.js", *(f"views/{name}.js" for name in made), "views.js"]
    html = {}
    for name, view in made.items():
        view.still.save(folder / f"{name}.png")
        text = json.dumps(view.data, separators=(",", ":"))
        script = f'(window.ssltutViews ??= {{}})["{name}"] = {text};\n'
        (folder / f"{name}.js").write_text(script, encoding="utf-8")
        picture_tag = f'<img alt="{markup(view.still.alt)}" src="_static/views/{name}.png">'
        box = f'<div class="view" id="view-{name}" data-view="{name}">'
        html[name.upper()] = f"{box}{picture_tag}</div>"
    tags = [f'<script defer src="_static/{name}"></script>' for name in names]
    return html | {"SCRIPTS": "\n".join(tags)}
