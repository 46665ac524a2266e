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
from matplotlib.figure import Figure
from PIL import Image

from ssltut import show
from ssltut.data.labels import BONE, HIP
from ssltut.errors import ConfigError
from ssltut.show.explorer import blend
from ssltut.show.slices import Scene, cut

SPACING = (1.0, 1.5, 3.0)
HISTORY = pd.DataFrame({"step": range(60), "total": np.linspace(1, 0, 60), "supervised": 0.5, "supervised weight": 1.0, "match share": 0.2,
                        "validation dice": [np.nan] * 59 + [0.9]})
TABLE = pd.DataFrame([(m, "dice", v, v - 0.1, v + 0.1) for m, v in (("low", 0.5), ("ours", 0.7), ("high", 0.9))],
                     columns=["method", "metric", "mean", "low", "high"])


@pytest.fixture
def ball() -> SimpleNamespace:
    """A ball of 12 mm around (15, 21, 30) mm on an anisotropic grid, class 2 in its lower half."""
    shape = (30, 28, 20)
    mm = np.stack(np.meshgrid(*[np.arange(n) * s for n, s in zip(shape, SPACING)], indexing="ij"), -1)
    radius = np.linalg.norm(mm - (15, 21, 30), axis=-1)
    label = (radius < 12).astype(np.uint8) + ((radius < 12) & (mm[..., 2] < 30))
    return SimpleNamespace(image=label * 300.0 - 50, label=label.astype(np.uint8), heat=np.exp(-((radius - 12) ** 2) / 9))


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLTUT_FRONTEND", "lab")


def every_view(ball: SimpleNamespace, alt: str) -> dict[str, object]:
    """Each view as a notebook would call it, not yet called."""
    scene = {"overlay": ball.label, "table": HIP, "spacing": SPACING}
    x = np.linspace(0, 1, 9)
    return {
        "planes": lambda: show.planes(ball.image, alt=alt, heat=ball.heat, heat_label="entropy (nats)", title="a ball", **scene),
        "gallery": lambda: show.gallery({"one": {"image": ball.image, **scene}, "two": {"image": ball.image, "spacing": SPACING}}, alt=alt),
        "explore": lambda: show.explore(ball.image, alt=alt, **scene),
        "curves": lambda: show.curves(HISTORY, alt=alt),
        "lines": lambda: show.lines(x, {"a": x, "b": x**2}, xlabel="x", ylabel="y", alt=alt, bands={"a": (x - 0.1, x + 0.1)}),
        "risk_coverage": lambda: show.risk_coverage(x, x**2, alt=alt),
        "intervals": lambda: show.intervals(TABLE, alt=alt, bounds=("low", "high")),
        "paired": lambda: show.paired({"ours": [0.1, 0.2, -0.1], "theirs": [0.0]}, xlabel="Dice", alt=alt),
        "picture": lambda: show.picture(Figure(), alt=alt),
    }


VIEWS = list(every_view(SimpleNamespace(image=None, label=None, heat=None), ""))


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("frontend", ["static", "lab"])
def test_view_carries_a_png_and_its_alt_text(ball, monkeypatch, name, frontend):
    monkeypatch.setenv("SSLTUT_FRONTEND", frontend)
    data, metadata = every_view(ball, 'a "ball"\n in a scan')[name]()._repr_mimebundle_()
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).width > 100
    assert metadata["image/png"]["alt"] == metadata["alt"] == 'a "ball" in a scan'
    assert 'alt="a &quot;ball&quot; in a scan"' in data["text/html"]
    live = name in ("explore", "correspondences") and frontend == "lab"
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
    code = "import sys; from ssltut import show; print(sorted(m for m in ('matplotlib', 'torch', 'plotly', 'ipywidgets', 'itkwidgets') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "[]"
    assert {"planes", "explore"} <= set(dir(show))
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
        assert row == 0 and column == 0


@pytest.mark.parametrize(("broken", "match"), [
    ({"overlay": np.zeros((2, 2, 2), np.uint8), "table": HIP}, "overlay has shape"),
    ({"heat": np.zeros((2, 2, 2))}, "heat has shape"),
    ({"overlay": "label"}, "no table names"),
    ({"overlay": "label", "table": BONE}, "labels reach 2"),
    ({"window": "lung"}, "no window 'lung'"),
])
def test_scene_refuses_what_does_not_fit(ball, broken, match):
    layers = {name: ball.label if isinstance(value, str) and value == "label" else value for name, value in broken.items()}
    with pytest.raises(ConfigError, match=match):
        Scene(ball.image, SPACING, **layers)


def test_scene_takes_what_fits(ball):
    scene = Scene(ball.image, SPACING, overlay=ball.label, table=HIP, heat=ball.heat, window=(400, 1800))
    assert scene.limits == Scene(ball.image, SPACING).limits == (-500, 1300)
    assert scene.centre == (15, 14, 10)
    assert Scene(ball.image, SPACING, at=(99, 3, -1)).centre == (29, 3, 0)
    assert Scene(ball.image, SPACING, window=None).limits == tuple(np.percentile(ball.image[::2, ::2, ::2], (1, 99)))
    assert Scene(ball.image[:, :, 4:], SPACING).centre == (15, 14, 8)


def test_gallery_refuses_nothing_and_unknown_planes(ball):
    for items, plane in (({}, "axial"), ({"one": {"image": ball.image, "spacing": SPACING}}, "oblique")):
        with pytest.raises(ConfigError, match="a gallery of"):
            show.gallery(items, alt="none", plane=plane)


def test_explorer_follows_its_sliders(ball, lab):
    view = show.explore(ball.image, spacing=SPACING, alt="a ball", overlay=ball.label, table=HIP, heat=ball.heat, contours={"ball": ball.label})
    assert {axis: s.value for axis, s in view.sliders.items() if axis != "opacity"} == {"x": 15, "y": 14, "z": 10}
    before = {plane: image.value for plane, image in view.images.items()}
    view.sliders["z"].value = 2
    assert all(view.images[plane].value != before[plane] for plane in before)  # the crosshair moves in the other planes
    view.sliders["z"].value = 10
    assert {plane: image.value for plane, image in view.images.items()} == before
    view.sliders["opacity"].value = 0.0
    assert view.images["axial"].value != before["axial"]
    axial = Image.open(io.BytesIO(before["axial"]))
    assert axial.width / axial.height == pytest.approx(30 * 1.0 / (28 * 1.5), rel=0.02)


def test_blend_mixes_grey_and_class_colour(ball):
    plain = blend(Scene(ball.image, SPACING), "axial", (15, 14, 12), 0.5)
    mixed = blend(Scene(ball.image, SPACING, overlay=ball.label, table=HIP), "axial", (15, 14, 12), 0.5)
    inside = cut(ball.label, "axial", 12) == 1
    assert (plain[~inside] == mixed[~inside]).all()
    grey = (250 + 500) / 1800
    assert mixed[inside][0] == pytest.approx([int(255 * (grey + c / 255) / 2) for c in (0xE6, 0x9F, 0x00)], abs=1)


def test_curves_refuse_columns_that_are_not_there():
    with pytest.raises(ConfigError, match="no column matching"):
        show.curves(HISTORY, alt="curves", groups={"loss": ["total", "matching"]})
    with pytest.raises(ConfigError, match="no column high"):
        show.intervals(TABLE.drop(columns="high"), alt="intervals")


def test_live_curves_are_throttled_and_keep_the_last(monkeypatch, lab):
    shown = []
    handle = SimpleNamespace(update=shown.append)
    monkeypatch.setattr("IPython.display.display", lambda picture, display_id: shown.append(picture) or handle)
    term = SimpleNamespace(value=np.float32(0.5), weight=0.1, share=0.25)
    with show.LiveCurves(alt="growing", every=60) as live:
        for step in range(5):
            live(step, {}, None, {"supervised": SimpleNamespace(value=np.float32(1), weight=1.0, share=None), "match": term})
    assert len(shown) == 2  # the first step, and the end
    assert live.rows[-1] == pytest.approx({"step": 4, "total": 1.05, "supervised": 1, "supervised weight": 1, "match": 0.5, "match weight": 0.1, "match share": 0.25})
    monkeypatch.setenv("SSLTUT_FRONTEND", "static")
    with show.LiveCurves(alt="growing") as live:
        live.add({"step": 0, "total": 1.0})
        assert len(shown) == 2
    assert len(shown) == 3
    with pytest.raises(ConfigError, match="alt text is empty"):
        show.LiveCurves(alt="")
