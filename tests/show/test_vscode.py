"""VS Code: it starts kernels without a Jupyter server and tells them the notebook's path."""

import sys
from types import SimpleNamespace

import pytest
from jupyter_client.manager import start_new_kernel

from ssltut import show
from ssltut.progress import watched
from ssltut.show.live.clickable_image import ClickableImage
from ssltut.show.live.volume import VolumePicture, obstacles
from ssltut.show.live.widgets import plane_image
from ssltut.show.static.pictures import WIDGET

PATH = "__vsc_ipynb_file__"


@pytest.fixture
def vscode(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process as a kernel of VS Code."""
    for name in ("SSLTUT_FRONTEND", "JPY_SESSION_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys.modules["__main__"], PATH, "/home/me/lesson.ipynb", raising=False)


def test_vs_code_is_known_and_a_variable_of_ours_decides(
    vscode: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert show.frontend() == "vscode"
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    monkeypatch.setenv("TQDM_DISABLE", "0")
    assert watched()
    monkeypatch.setenv("SSLTUT_FRONTEND", "static")
    assert show.frontend() == "static"


def test_pictures_take_clicks_and_a_live_view_is_one_output(
    vscode: None, ball: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(plane_image("axial", "a plane", clickable=True), ClickableImage)
    shown: list[dict] = []
    monkeypatch.setattr("IPython.display.display", lambda data, **how: shown.append(data))
    show.slices(ball.image, spacing=ball.spacing, alt="a ball")._ipython_display_()
    (data,) = shown
    assert {WIDGET, "image/png"} <= set(data)


def test_a_volume_has_a_viewer_but_not_one_that_needs_jupyterlab(
    vscode: None, ball: SimpleNamespace
) -> None:
    made = show.volume(ball.image, spacing=ball.spacing, alt="a ball")
    assert isinstance(made, VolumePicture)
    found = obstacles()
    assert found["itkwidgets"] in ("itkwidgets needs JupyterLab", "itkwidgets is not installed")
    assert found["plotly"] == ""


def test_a_real_kernel_is_known_by_the_name_that_vs_code_gives_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("SSLTUT_FRONTEND", "JPY_SESSION_NAME"):
        monkeypatch.delenv(name, raising=False)
    manager, client = start_new_kernel(kernel_name="python3")
    asked = []
    try:
        for first in ("pass", f"{PATH} = '/home/me/lesson.ipynb'"):
            client.execute_interactive(first, silent=True, timeout=120)
            code = {"found": "__import__('ssltut.show').show.frontend()"}
            reply = client.execute_interactive("", user_expressions=code, timeout=120)
            asked.append(reply["content"]["user_expressions"]["found"]["data"]["text/plain"])
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert asked == ["'static'", "'vscode'"]
