"""What the test of the 3D viewers is made of: a scan of two balls, and the front ends that show it.

JupyterLab and Notebook 7 are real. VS Code and Colab are simulated: a kernel is told that it is one
of them, as their own tell it, and what it gives is put on a page. VS Code's page (``living``) has
the widget manager of Jupyter and a kernel that lives; Colab's has the HTML of the outputs.
"""

import io
import time
from collections.abc import Callable
from contextlib import closing, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import lab
import living
import nbformat
import psutil
from nbclient import NotebookClient
from PIL import Image

from ssltut.show.live.volume import VIEWERS, scripts_installed

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ALL = (*VIEWERS, "ipyniivue")  # the last is no viewer of ours: it is measured where it is installed
SET_UP = """import os
import tempfile
import nibabel
import numpy as np
from ssltut import show
from ssltut.data.labels import HIP

def scan(n):
    x, y, z = np.mgrid[:n, :n, :n] / n - 0.5
    label = np.uint8(x**2 + y**2 + (z + 0.2)**2 < 0.06)
    label[(x - 0.1)**2 + y**2 + (z - 0.2)**2 < 0.03] = 2
    noise = np.random.default_rng(0).normal(0, 60, label.shape)
    return np.int16(1000 * (label > 0) + noise), label
"""
OURS = """os.environ["SSLTUT_VIEWER"] = "{viewer}"
image, label = scan({n})
show.volume(image, spacing=(1, 1, 1), label_image=label, table=HIP, alt="two balls")"""
THEIRS = """import ipyniivue
image, label = scan({n})
folder = tempfile.mkdtemp()
for name, array in (("image", image), ("label", label)):
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), f"{{folder}}/{{name}}.nii.gz")
shown = ipyniivue.NiiVue()
shown.load_volumes([{{"path": f"{{folder}}/image.nii.gz"}},
                    {{"path": f"{{folder}}/label.nii.gz", "opacity": 0.5}}])
shown"""
WHERE = {"plotly": ".gl-container canvas", "k3d": "canvas", "itkwidgets": "iframe"}
LAPTOP = (1366, 768)
PATIENCE_S = 600  # no viewer is waited for longer
# More colours than these are a drawing; a still picture in greys has fewer than thirty.
DRAWN = {"ipyniivue": 10}
VSCODE = '__vsc_ipynb_file__ = "balls.ipynb"'
COLAB = """import sys, types
sys.modules["google"] = types.ModuleType("google")
sys.modules["google.colab"] = types.ModuleType("google.colab")"""
RUN = """async n => {
    const { content } = window.jupyterapp.shell.currentWidget;
    content.activeCellIndex = n;
    content.deselectAll();
    await window.jupyterapp.commands.execute('notebook:run-cell');
    const made = content.widgets[n].model.toJSON().outputs ?? [];
    return made.filter(output => output.output_type === 'error').map(output => output.evalue); }"""


class Took(NamedTuple):
    """What it took until a volume was on the screen; ``drawn`` is false where patience ended."""

    drawn: bool
    waited_s: float
    processor_s: float  # of browser, server and kernel together: the same on a busy machine


def here() -> list[str]:
    """The viewers that can be tried on this machine without a network."""
    installed = [name for name in ALL if find_spec(name)]
    return [name for name in installed if name != "itkwidgets" or scripts_installed()]


def book(cells: list[str]) -> nbformat.NotebookNode:
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    made = [nbformat.v4.new_code_cell(source) for source in cells]
    return nbformat.v4.new_notebook(cells=made, metadata={"kernelspec": kernel})


def cell(viewer: str, n: int) -> str:
    return (OURS if viewer in VIEWERS else THEIRS).format(viewer=viewer, n=n)


def is_drawn(
    page: "Page",
    viewer: str,
    patience_s: float,
    shot: Path,
    meanwhile: Callable[[], None] = lambda: None,
) -> bool:
    """Wait until the viewer has drawn on the screen; false when it has not in ``patience_s``.

    The last picture of the window is kept as ``shot``. The window is photographed, not the element:
    k3d draws without end, and playwright would wait.
    """
    from playwright.sync_api import TimeoutError as TooSlow

    start = time.monotonic()
    while (left_s := start + patience_s - time.monotonic()) > 0:
        meanwhile()
        for element in page.locator(WHERE.get(viewer, "canvas")).all():
            element.evaluate("element => element.scrollIntoView({ block: 'end' })")
            box = element.bounding_box()
            if not box or min(box["width"], box["height"]) < 100:
                continue
            try:
                page.screenshot(path=shot, timeout=1000 * left_s)
            except TooSlow:
                return False
            if lab.colours(cut(shot, box)) > DRAWN.get(viewer, 30):
                return True
        page.wait_for_timeout(200)
    return False


def cut(shot: Path, box: dict[str, float]) -> bytes:
    """What of a picture lies in ``box``, right of its middle, as PNG.

    At the border and on the left itkwidgets has its panel, axes and scale, long before its volume.
    """
    png = io.BytesIO()
    with Image.open(shot) as whole:
        left, top = box["x"], max(box["y"], 0)
        right, low = left + box["width"], min(box["y"] + box["height"], whole.height)
        middle, aside, below = (left + right) / 2, (right - left) / 4, (low - top) / 4
        whole.crop((middle, top + below, right - aside, low - below)).save(png, "png")
    return png.getvalue()


def processor_s() -> float:
    """Seconds that the processors have worked for all that this process started and still runs."""
    total = 0.0
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            total += times.user + times.system
    return total


def in_jupyter(
    window: "Browser", folder: Path, app: str, viewer: str, sizes: list[int]
) -> dict[int, Took]:
    """From the start of a cell to the volume on the screen, by voxels a side.

    After the first that is not there within PATIENCE_S no larger one is tried. Each has a new
    browser and a new kernel, so that none waits for what another has still to draw.
    """
    (folder / "notebooks").mkdir(parents=True)
    found: dict[int, Took] = {}
    with lab.jupyter(folder, app) as address:
        for size in sizes:
            made = book([SET_UP, cell(viewer, size)])
            nbformat.write(made, folder / "notebooks" / f"balls_{size}.ipynb")
            launched = window.browser_type.launch(
                executable_path=lab.chromium(), args=list(lab.FLAGS)
            )
            with closing(launched) as browser:
                desk = lab.Desk(browser, address, folder, LAPTOP)
                desk.open(f"balls_{size}.ipynb")
                desk.page.evaluate(RUN, 0)
                start, worked_s = time.monotonic(), processor_s()
                failed = desk.page.evaluate(RUN, 1)
                assert not failed, failed
                left_s = start + PATIENCE_S - time.monotonic()
                shot = lab.SHOTS / f"viewer_{app}_{viewer}_{size}.png"
                drawn = is_drawn(desk.page, viewer, left_s, shot)
                found[size] = Took(drawn, time.monotonic() - start, processor_s() - worked_s)
            outside = [address for address in desk.outside if "vue.min.js" not in address]
            assert not outside, f"{viewer} asks the internet: {outside[:3]}"
            if not drawn:
                break
    return found


def executed(first: str, source: str) -> nbformat.NotebookNode:
    """The notebook as a kernel without a Jupyter server runs it."""
    made = book([first, SET_UP, source])
    with living.without_a_server():
        NotebookClient(made, timeout=lab.PATIENCE_S, kernel_name="python3").execute()
    return made


def on_a_page(window: "Browser", folder: Path, first: str, viewer: str) -> str:
    """What a page of outputs, without a kernel, shows: "live", "picture", or "nothing"."""
    made = executed(first, cell(viewer, 48))
    outputs = [output.get("data", {}) for output in made.cells[-1].outputs]
    return seen(window, folder, "".join(data.get("text/html", "") for data in outputs), viewer, 1)


def in_vscode(window: "Browser", folder: Path, viewer: str, manager: Path) -> str:
    """The same of a page whose widgets have a kernel that lives."""
    with living.kernel() as client:
        for code in (VSCODE, SET_UP):
            living.run(client, code)
        messages = living.run(client, cell(viewer, 48))
        outputs = [message["content"].get("data", {}) for message in messages]
        html = "".join(data.get("text/html", "") for data in outputs if living.VIEW not in data)
        given = {
            "made": living.widgets(messages),
            "shown": [data[living.VIEW] for data in outputs if living.VIEW in data],
        }

        def connect(page: "Page") -> Callable[[], None]:
            wire = living.Wire(page, client)
            page.evaluate(f"given => {{ ({living.SHOW})(given); }}", given)
            return wire.carry

        html = living.scripts(manager) + html
        patience_s = PATIENCE_S if given["shown"] else 1
        return seen(window, folder, html, viewer, patience_s, connect)


def seen(
    window: "Browser",
    folder: Path,
    html: str,
    viewer: str,
    patience_s: float,
    connect: Callable[["Page"], Callable[[], None]] = lambda page: lambda: None,
) -> str:
    """What a page shows: "live", "picture", or "nothing"."""
    folder.mkdir(parents=True)
    page = window.new_context(viewport={"width": LAPTOP[0], "height": LAPTOP[1]}).new_page()
    text = f"<!DOCTYPE html><meta charset='utf-8'><body>{html}"
    (folder / "page.html").write_text(text, encoding="utf-8")
    page.goto((folder / "page.html").as_uri())
    page.wait_for_load_state()
    still = page.locator("img").first
    there = still.count() and still.evaluate("image => image.naturalWidth") > 0
    shot = lab.SHOTS / f"viewer_{folder.name}_{viewer}.png"
    page.screenshot(path=shot)
    live = is_drawn(page, viewer, patience_s, shot, connect(page))
    page.context.close()
    return "live" if live else "picture" if there else "nothing"
