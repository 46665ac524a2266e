"""Notebooks where google.colab is said to be loaded: no widget library but ipywidgets is used."""

from pathlib import Path

import pytest
import tour
from toy_notebook import run_solution

# What Colab does not have. plotly's FigureWidget needs anywidget, so it fails here too.
FOREIGN = ("anywidget", "itkwidgets", "k3d", "ipyniivue", "ipympl", "imjoy_rpc", "imjoy_elfinder")
STARTUP = f"""
import sys, types
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {FOREIGN!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}, as on Colab", name=name)
sys.meta_path.insert(0, Absent())
sys.modules["google.colab"] = types.ModuleType("google.colab")
"""


@pytest.fixture
def colab(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place whose kernels think that they are Colab's."""
    tour.environment()
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00-colab.py").write_text(STARTUP)
    for name in ("SSLTUT_FRONTEND", "JPY_SESSION_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    # The notebooks' %pip finds ssltut installed and asks nobody.
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return tmp_path


@pytest.mark.parametrize(
    "name", ["01_loading_hip_ct", "03_uncertainty_maps", "04_embedding_correspondences"]
)
def test_on_colab_every_view_works_without_a_foreign_widget(name: str, colab: Path) -> None:
    book = run_solution(name, colab)
    outputs = [
        output for cell in book.cells for output in cell.get("outputs", []) if output.get("data")
    ]
    live = [
        output for output in outputs if "application/vnd.jupyter.widget-view+json" in output.data
    ]
    assert live
    assert all(
        output.metadata["image/png"]["alt"] and "image/png" in output.data for output in live
    )
    widgets = book.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
    made = {state["model_module"] for state in widgets.values()}
    assert made <= {"@jupyter-widgets/base", "@jupyter-widgets/controls", "@jupyter-widgets/output"}
    if name.startswith("04"):
        assert any("cdn.plot.ly" in output.data.get("text/html", "") for output in outputs), (
            "lines in 3D come as a page with its own script"
        )
