"""Pictures and widgets: alt text, frontends, geometry, and that what is drawn is what was given."""

import base64
import inspect
import io
import os
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from toy import STEPS, TABLE

from ssltut import show
from ssltut.data.labels import BONE, HIP
from ssltut.errors import ConfigError
from ssltut.show.live.planes import blend
from ssltut.show.static.slices import Scene, cut

SPACING = (1.0, 1.5, 3.0)
HISTORY = pd.DataFrame(
    {
        "step": range(60),
        "total": np.linspace(1, 0, 60),
        "supervised": 0.5,
        "supervised weight": 1.0,
        "match share": 0.2,
        "validation dice": [np.nan] * 59 + [0.9],
    }
)


def every_view(ball: SimpleNamespace, alt: str) -> dict[str, object]:
    """Each view as a notebook would call it, not yet called."""
    scene = {"overlay": ball.label, "table": HIP, "spacing": SPACING}
    x = np.linspace(0, 1, 9)
    return {
        "planes": lambda: show.planes(
            ball.image,
            alt=alt,
            heat=ball.heat,
            heat_label="entropy (nats)",
            title="a ball",
            **scene,
        ),
        "grid": lambda: show.grid(
            {
                "one": {"image": ball.image, **scene},
                "two": {"image": ball.image, "spacing": SPACING},
            },
            alt=alt,
        ),
        "slices": lambda: show.slices(ball.image, alt=alt, **scene),
        "curves": lambda: show.curves(HISTORY, alt=alt),
        "lines": lambda: show.lines(
            x, {"a": x, "b": x**2}, xlabel="x", ylabel="y", alt=alt, bands={"a": (x - 0.1, x + 0.1)}
        ),
        "risk_coverage": lambda: show.risk_coverage(x, x**2, alt=alt),
        "intervals": lambda: show.intervals(TABLE, alt=alt, bounds=("low", "high")),
        "budget_curves": lambda: show.budget_curves(
            STEPS, ylabel="Dice", alt=alt, bounds=("low", "high")
        ),
        "strata": lambda: show.strata(
            STEPS, ylabel="Dice", alt=alt, bounds=("low", "high", "not there")
        ),
        "paired": lambda: show.paired(
            {"ours": [0.1, 0.2, -0.1], "theirs": [0.0]}, xlabel="Dice", alt=alt
        ),
        "correspondences": lambda: show.correspondences(
            *[show.surface(ball.label, 1, spacing=SPACING)] * 2,
            *[np.ones((4, 3))] * 2,
            [1, 1, 0, 1],
            alt=alt,
        ),
        "volume": lambda: show.volume(
            ball.image,
            spacing=SPACING,
            alt=alt,
            label_image=ball.label,
            table=HIP,
            point_set=[(15, 21, 30)],
            title="a ball",
        ),
        "picture": lambda: show.picture(Figure(), alt=alt),
    }


VIEWS = list(every_view(SimpleNamespace(label=None), ""))


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("frontend", ["static", "lab"])
def test_view_carries_a_png_and_its_alt_text(ball, monkeypatch, name, frontend):
    monkeypatch.setenv("SSLTUT_FRONTEND", frontend)
    data, metadata = every_view(ball, 'a "ball"\n in a scan')[name]()._repr_mimebundle_()
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).width > 100
    assert metadata["image/png"]["alt"] == metadata["alt"] == 'a "ball" in a scan'
    assert 'alt="a &quot;ball&quot; in a scan"' in data["text/html"]
    live = name in ("slices", "correspondences") and frontend == "lab"
    assert ("application/vnd.jupyter.widget-view+json" in data) == live
    assert plt.get_fignums() == []


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("alt", ["", "  \n"])
def test_empty_alt_text_is_refused(ball, name, alt):
    with pytest.raises(ConfigError, match="alt text is empty"):
        every_view(ball, alt)[name]()


@pytest.mark.parametrize("name", VIEWS)
def test_alt_text_has_no_default(name):
    parameter = inspect.signature(getattr(show, name)).parameters["alt"]
    assert parameter.default is parameter.empty


def test_drawing_leaves_matplotlib_as_it_was(ball):
    before = dict(plt.rcParams)
    for view in every_view(ball, "a ball").values():
        view()
    assert dict(plt.rcParams) == before


def test_picture_saves_its_png(ball, tmp_path):
    made = show.planes(ball.image, spacing=SPACING, alt="a ball")
    assert made.save(tmp_path / "ball.png").read_bytes() == made.png
    assert repr(made) == "Picture('a ball')"


def test_frontend_order(monkeypatch):
    for name in ("SSLTUT_FRONTEND", "JPY_SESSION_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    assert show.frontend() == "static"
    monkeypatch.setenv("JPY_SESSION_NAME", "lesson.ipynb")
    assert show.frontend() == "lab"
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    assert show.frontend() == "colab"
    monkeypatch.setenv("SSLTUT_FRONTEND", "static")
    assert show.frontend() == "static"
    monkeypatch.setenv("SSLTUT_FRONTEND", "web")
    with pytest.raises(ConfigError, match="SSLTUT_FRONTEND is 'web'"):
        show.frontend()


def test_show_is_light_and_names_its_views():
    code = (
        "import sys; from ssltut import show; print(sorted(m for m in ('matplotlib', 'torch',"
        " 'plotly', 'ipywidgets', 'itkwidgets') if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "[]"
    assert {"planes", "volume"} <= set(dir(show))
    for name in dir(show):
        assert callable(getattr(show, name))
    with pytest.raises(AttributeError, match="no view 'plains'"):
        _ = show.plains


def test_planes_are_seen_from_the_front_and_from_the_feet():
    volume = np.zeros((4, 5, 6))
    volume[3, 4, 5] = 1  # left, anterior, superior
    shapes = {"axial": (5, 4), "coronal": (6, 4), "sagittal": (6, 5)}
    for plane, axis in (("axial", 5), ("coronal", 4), ("sagittal", 3)):
        flat = cut(volume, plane, axis)
        assert flat.shape == shapes[plane]
        row, column = np.argwhere(flat == 1)[0]
        assert row == 0
        assert column == 0


@pytest.mark.parametrize(
    ("broken", "match"),
    [
        ({"overlay": np.zeros((2, 2, 2), np.uint8), "table": HIP}, "overlay has shape"),
        ({"heat": np.zeros((2, 2, 2))}, "heat has shape"),
        ({"overlay": "label"}, "no table names"),
        ({"overlay": "label", "table": BONE}, "labels reach 2"),
        ({"window": "lung"}, "no window 'lung'"),
    ],
)
def test_scene_refuses_what_does_not_fit(ball, broken, match):
    layers = {
        name: ball.label if isinstance(value, str) and value == "label" else value
        for name, value in broken.items()
    }
    with pytest.raises(ConfigError, match=match):
        Scene(ball.image, SPACING, **layers)


def test_scene_takes_what_fits(ball):
    scene = Scene(
        ball.image, SPACING, overlay=ball.label, table=HIP, heat=ball.heat, window=(400, 1800)
    )
    assert scene.limits == Scene(ball.image, SPACING).limits == (-500, 1300)
    assert scene.centre == (15, 14, 10)
    assert Scene(ball.image, SPACING, at=(99, 3, -1)).centre == (29, 3, 0)
    assert Scene(ball.image, SPACING, window=None).limits == tuple(
        np.percentile(ball.image[::2, ::2, ::2], (1, 99))
    )
    assert Scene(ball.image[:, :, 4:], SPACING).centre == (15, 14, 8)


def test_grid_refuses_nothing_and_unknown_planes(ball):
    for items, plane in (
        ({}, "axial"),
        ({"one": {"image": ball.image, "spacing": SPACING}}, "oblique"),
    ):
        with pytest.raises(ConfigError, match="a grid of"):
            show.grid(items, alt="none", plane=plane)


def test_explorer_follows_its_sliders(ball, lab):
    view = show.slices(
        ball.image,
        spacing=SPACING,
        alt="a ball",
        overlay=ball.label,
        table=HIP,
        heat=ball.heat,
        contours={"ball": ball.label},
    )
    assert {axis: s.value for axis, s in view.sliders.items() if axis != "opacity"} == {
        "x": 15,
        "y": 14,
        "z": 10,
    }
    before = {plane: image.value for plane, image in view.images.items()}
    view.sliders["z"].value = 2
    assert all(
        view.images[plane].value != before[plane] for plane in before
    )  # the crosshair moves in the other planes
    view.sliders["z"].value = 10
    assert {plane: image.value for plane, image in view.images.items()} == before
    view.sliders["opacity"].value = 0.0
    assert view.images["axial"].value != before["axial"]
    axial = Image.open(io.BytesIO(before["axial"]))
    assert axial.width / axial.height == pytest.approx(30 * 1.0 / (28 * 1.5), rel=0.02)


def test_blend_mixes_grey_and_class_colour(ball):
    plain = blend(Scene(ball.image, SPACING), "axial", (15, 14, 12), 0.5)
    mixed = blend(
        Scene(ball.image, SPACING, overlay=ball.label, table=HIP), "axial", (15, 14, 12), 0.5
    )
    inside = cut(ball.label, "axial", 12) == 1
    assert (plain[~inside] == mixed[~inside]).all()
    grey = (250 + 500) / 1800
    assert mixed[inside][0] == pytest.approx(
        [int(255 * (grey + c / 255) / 2) for c in (0xE6, 0x9F, 0x00)], abs=1
    )


def test_curves_refuse_columns_that_are_not_there():
    with pytest.raises(ConfigError, match="no column matching"):
        show.curves(HISTORY, alt="curves", groups={"loss": ["total", "matching"]})
    with pytest.raises(ConfigError, match="no column high"):
        show.intervals(TABLE.drop(columns="high"), alt="intervals")


def test_live_curves_are_throttled_and_keep_the_last(monkeypatch, lab):
    shown = []
    handle = SimpleNamespace(update=shown.append)
    monkeypatch.setattr(
        "IPython.display.display", lambda picture, display_id: shown.append(picture) or handle
    )
    term = SimpleNamespace(value=torch.tensor(0.5), weight=0.1, share=0.25)
    with show.LiveCurves(alt="growing", every=60) as live:
        for step in range(5):
            live(
                step,
                {},
                None,
                {
                    "supervised": SimpleNamespace(value=torch.tensor(1.0), weight=1.0, share=None),
                    "match": term,
                },
            )
    assert len(shown) == 2  # the first step, and the end
    assert live.rows[-1] == pytest.approx(
        {
            "step": 4,
            "total": 1.05,
            "supervised": 1,
            "supervised weight": 1,
            "match": 0.5,
            "match weight": 0.1,
            "match share": 0.25,
        }
    )
    monkeypatch.setenv("SSLTUT_FRONTEND", "static")
    with show.LiveCurves(alt="growing") as live:
        live.add({"step": 0, "total": 1.0})
        assert len(shown) == 2
    assert len(shown) == 3
    with pytest.raises(ConfigError, match="alt text is empty"):
        show.LiveCurves(alt="")


@pytest.mark.parametrize("max_faces", [10**6, 3000])
def test_surface_of_a_ball_has_its_radius_in_mm(max_faces):
    spacing, centre = np.array([0.8, 1.0, 2.5]), np.array([33.0, 30.0, 40.0])
    mm = np.stack(
        np.meshgrid(
            *[np.arange(n) * s for n, s in zip((80, 60, 32), spacing, strict=False)], indexing="ij"
        ),
        -1,
    )
    label = (np.linalg.norm(mm - centre, axis=-1) < 24).astype(np.uint8)
    mesh = show.surface(label, 1, spacing=spacing, max_faces=max_faces)
    assert np.linalg.norm(mesh.vertices - centre, axis=1).mean() == pytest.approx(24, rel=0.03)
    assert len(mesh.faces) < 1.5 * max_faces
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    enclosed = abs(np.einsum("ij,ij->i", a, np.cross(b, c)).sum()) / 6
    assert enclosed == pytest.approx(
        4 / 3 * np.pi * 24**3, rel=0.03
    )  # closed, also where the scan cuts it


def test_surface_follows_the_affine_and_the_table(ball):
    affine = np.array([[0, -1.5, 0, 7], [1.0, 0, 0, -20], [0, 0, 3.0, 100], [0, 0, 0, 1]])
    plain, placed = (
        show.surface(ball.label, 2, spacing=SPACING),
        show.surface(ball.label, 2, affine=affine, table=HIP),
    )
    expected = np.c_[
        -plain.vertices[:, 1] + 7, plain.vertices[:, 0] - 20, plain.vertices[:, 2] + 100
    ]
    assert placed.vertices == pytest.approx(expected, abs=1e-4)
    assert (placed.colour, placed.name) == (HIP.colours[2], "femur")


def test_surface_refuses_a_missing_class_and_missing_geometry(ball):
    with pytest.raises(ConfigError, match=r"no voxel of the label has the value 7.*\[0, 1, 2\]"):
        show.surface(ball.label, 7, spacing=SPACING)
    for geometry in ({}, {"spacing": SPACING, "affine": np.eye(4)}):
        with pytest.raises(ConfigError, match="its geometry, once"):
            show.surface(ball.label, 1, **geometry)


@pytest.mark.parametrize("agree", [[True, False, True, True, False], [True] * 5, [False] * 5])
def test_correspondences_are_segments_in_two_styles(ball, lab, agree):
    mesh = show.surface(ball.label, 1, spacing=SPACING)
    a, agree = np.arange(15.0).reshape(5, 3), np.array(agree)
    figure = show.correspondences(
        mesh, [mesh, show.surface(ball.label, 2, spacing=SPACING)], a, a + 1, agree, alt="matches"
    )
    assert [t.type for t in figure.data] == ["mesh3d"] * 3 + ["scatter3d"] * 3
    right, wrong = figure.data[3:5]
    for trace, keep in ((right, agree), (wrong, ~agree)):
        path = np.stack([trace.x, trace.y, trace.z], -1).reshape(-1, 3, 3)  # start, end, break
        assert len(path) == keep.sum()
        assert f"({keep.sum()})" in trace.name
        assert np.isnan(path[:, 2]).all()
        assert np.isfinite(path[:, :2]).all()
        shift = path[:, 0] - a[keep]
        assert np.ptp(shift, axis=0) == pytest.approx(0, abs=1e-4) if len(path) else True
    assert right.line.color != wrong.line.color
    assert right.line.width != wrong.line.width
    assert right.marker.symbol != wrong.marker.symbol
    left, other = (np.asarray(figure.data[k].x) for k in (0, 1))
    assert (
        other.max() < left.min()
    )  # beside each other: seen from the front, x runs to the viewer's left


def test_correspondences_refuse_points_that_do_not_pair_up(ball):
    mesh = show.surface(ball.label, 1, spacing=SPACING)
    with pytest.raises(ConfigError, match="3 points, 2 matches and 3 marks"):
        show.correspondences(mesh, mesh, np.ones((3, 3)), np.ones((2, 3)), [1, 1, 1], alt="matches")


def test_colab_gets_a_page_of_its_own(ball, monkeypatch):
    monkeypatch.setenv("SSLTUT_FRONTEND", "colab")
    data, metadata = every_view(ball, "matches")["correspondences"]()._repr_mimebundle_()
    assert "Plotly.newPlot" in data["text/html"]
    assert 'alt="matches"' in data["text/html"]
    assert "image/png" in data
    assert metadata["alt"] == "matches"


def test_static_frontend_imports_no_viewer():
    code = (
        "import sys, numpy as np; from ssltut import show; x = np.zeros((9, 9, 9)); x[3:6, 3:6,"
        " 3:6] = 1; m = show.surface(x, 1, spacing=(1, 1, 1));show.volume(x, spacing=(1, 1, 1),"
        " alt='a'); show.slices(x, spacing=(1, 1, 1), alt='a'); show.correspondences(m, m, [], [],"
        " [], alt='a');print([m for m in ('itkwidgets', 'plotly', 'ipywidgets', 'torch') if m in"
        " sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"SSLTUT_FRONTEND": "static"},
    )
    assert done.stdout.strip() == "[]"
