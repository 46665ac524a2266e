"""Every view of ``ssltut.show``: its picture, its alt text, its frontend, its imports."""

import base64
import inspect
import io
import os
import subprocess
import sys
from types import ModuleType

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image
from toy import TABLE

from ssltut import show
from ssltut.data.labels import HIP
from ssltut.errors import ConfigError

X = np.linspace(0, 1, 9)
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
BOUNDS = ("low", "high")


def scene(ball):
    return {"overlay": ball.label, "table": HIP, "spacing": ball.spacing}


def matches(ball, alt):
    mesh, points = show.surface(ball.label, 1, spacing=ball.spacing), np.ones((4, 3))
    return show.correspondences(mesh, mesh, points, points, [1, 1, 0, 1], alt=alt)


VIEWS = {  # each as a notebook calls it, given a ball and its alt text
    "planes": lambda ball, alt: show.planes(
        ball.image, alt=alt, heat=ball.heat, heat_label="entropy", title="a ball", **scene(ball)
    ),
    "grid": lambda ball, alt: show.grid(
        {
            "one": {"image": ball.image, **scene(ball)},
            "two": {"image": ball.image, "spacing": ball.spacing},
        },
        alt=alt,
    ),
    "slices": lambda ball, alt: show.slices(ball.image, alt=alt, **scene(ball)),
    "curves": lambda ball, alt: show.curves(HISTORY, alt=alt),
    "lines": lambda ball, alt: show.lines(X, {"a": X, "b": X**2}, xlabel="x", ylabel="y", alt=alt),
    "risk_coverage": lambda ball, alt: show.risk_coverage(X, X**2, alt=alt),
    "intervals": lambda ball, alt: show.intervals(TABLE, alt=alt, bounds=BOUNDS),
    "explore_surface": lambda ball, alt: show.explore_surface(
        ball.label, ball.label, ball.heat, class_id=1, spacing=ball.spacing, table=HIP, alt=alt
    ),
    "paired_strip": lambda ball, alt: show.paired_strip(
        {"ours": [0.1, 0.2, -0.1], "theirs": [0.0]}, xlabel="Dice", alt=alt
    ),
    "correspondences": matches,
    "volume": lambda ball, alt: show.volume(
        ball.image,
        spacing=ball.spacing,
        alt=alt,
        label_image=ball.label,
        table=HIP,
        point_set=[(15, 21, 30)],
        title="a ball",
    ),
    "picture": lambda ball, alt: show.picture(Figure(), alt=alt),
}


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("frontend", ["static", "lab"])
def test_view_carries_a_png_and_its_alt_text(ball, monkeypatch, name, frontend):
    monkeypatch.setenv("SSLTUT_FRONTEND", frontend)
    before = dict(plt.rcParams)
    data, metadata = VIEWS[name](ball, 'a "ball"\n in a scan')._repr_mimebundle_()
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).width > 100
    assert metadata["image/png"]["alt"] == metadata["alt"] == 'a "ball" in a scan'
    assert 'alt="a &quot;ball&quot; in a scan"' in data["text/html"]
    live = name in ("slices", "correspondences", "explore_surface") and frontend == "lab"
    assert ("application/vnd.jupyter.widget-view+json" in data) == live
    assert plt.get_fignums() == []
    assert dict(plt.rcParams) == before


@pytest.mark.parametrize("name", VIEWS)
def test_empty_alt_text_is_refused(ball, name):
    with pytest.raises(ConfigError, match="alt text is empty"):
        VIEWS[name](ball, "  \n")


@pytest.mark.parametrize("name", VIEWS)
def test_alt_text_has_no_default(name):
    parameter = inspect.signature(getattr(show, name)).parameters["alt"]
    assert parameter.default is parameter.empty


def test_picture_saves_its_png(ball, tmp_path):
    made = show.planes(ball.image, spacing=ball.spacing, alt="a ball")
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
    with pytest.raises(AttributeError, match=r"No ssltut\.show attribute plains"):
        _ = show.plains


def test_static_frontend_imports_no_viewer():
    """Slices load ipywidgets, which is light; every other view does without in this frontend."""
    code = (
        "import sys, numpy as np; from ssltut import show; x = np.zeros((9, 9, 9));"
        " x[3:6, 3:6, 3:6] = 1; m = show.surface(x, 1, spacing=(1, 1, 1));"
        " heavy = lambda: {'itkwidgets', 'plotly', 'ipywidgets', 'torch'} & set(sys.modules);"
        " show.volume(x, spacing=(1, 1, 1), alt='a'); show.planes(x, spacing=(1, 1, 1), alt='a');"
        " show.correspondences(m, m, [], [], [], alt='a'); print(heavy());"
        " show.slices(x, spacing=(1, 1, 1), alt='a'); print(heavy())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"SSLTUT_FRONTEND": "static"},
    )
    assert done.stdout.split("\n")[:2] == ["set()", "{'ipywidgets'}"]


def test_colab_gets_a_page_of_its_own(ball, monkeypatch):
    monkeypatch.setenv("SSLTUT_FRONTEND", "colab")
    data, metadata = matches(ball, "matches")._repr_mimebundle_()
    assert "Plotly.newPlot" in data["text/html"]
    assert 'alt="matches"' in data["text/html"]
    assert "image/png" in data
    assert metadata["alt"] == "matches"
