"""What the test of the 3D viewers is made of: a scan of two balls, and the front ends that show it.

JupyterLab and Notebook 7 are real. VS Code and Colab are simulated: a kernel is told that it is one
of them, as their own tell it, and what it gives is put on a page. VS Code's page has the widget
manager of Jupyter and, of the widgets' scripts, those that are installed beside Jupyter, as VS Code
has; Colab's has the HTML of the outputs.
"""

import json
import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import lab
import nbformat
from nbclient import NotebookClient

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


def seconds_until_drawn(page: "Page", viewer: str, patience_s: float) -> float | None:
    """Seconds until the viewer has drawn on the screen; None when it never does.

    The window is photographed, not the element: k3d draws without end, and playwright would wait.
    """
    start = time.monotonic()
    while time.monotonic() - start < patience_s:
        for element in page.locator(WHERE.get(viewer, "canvas")).all():
            box = element.bounding_box()
            if not box or min(box["width"], box["height"]) < 100:
                continue
            if lab.colours(page.screenshot(clip=box, timeout=1000 * patience_s)) > DRAWN.get(
                viewer, 30
            ):
                return time.monotonic() - start
        page.wait_for_timeout(200)
    return None


def in_jupyter(
    window: "Browser",
    folder: Path,
    app: str,
    viewer: str,
    sizes: list[int],
    patience_s: float = 300,
) -> dict[int, float | None]:
    """Seconds from the start of a cell to the volume on the screen, by voxels a side."""
    (folder / "notebooks").mkdir(parents=True)
    cells = [SET_UP, *(cell(viewer, n) for n in sizes)]
    nbformat.write(book(cells), folder / "notebooks" / "balls.ipynb")
    found: dict[int, float | None] = {}
    with lab.jupyter(folder, app) as address:
        desk = lab.Desk(window, address, folder, (1500, 1500))
        desk.open("balls.ipynb")
        desk.page.evaluate(RUN, 0)
        for n, size in enumerate(sizes, 1):
            start = time.monotonic()
            failed = desk.page.evaluate(RUN, n)
            ran = time.monotonic() - start
            drawn = None if failed else seconds_until_drawn(desk.page, viewer, patience_s)
            found[size] = None if drawn is None else ran + drawn
            desk.shot(f"viewer_{app}_{viewer}_{size}")
            # What was drawn is removed: the next one has the processor to itself.
            clear = "() => window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')"
            desk.page.evaluate(clear)
        outside = [address for address in desk.outside if "vue.min.js" not in address]
        desk.close()
    return found if not outside else dict.fromkeys(sizes)


def executed(first: str, source: str) -> nbformat.NotebookNode:
    """The notebook as a kernel without a Jupyter server runs it, with the state of its widgets."""
    made = book([first, SET_UP, source])
    kept = {n: os.environ.pop(n, None) for n in ("SSLTUT_FRONTEND", "JPY_SESSION_NAME")}
    try:
        NotebookClient(made, timeout=lab.PATIENCE_S, kernel_name="python3").execute()
    finally:
        os.environ.update({n: value for n, value in kept.items() if value is not None})
    return made


def page_of(made: nbformat.NotebookNode, manager: Path | None) -> str:
    """A page with the outputs; with ``manager`` (require.js, embed-amd.js) its widgets too."""
    parts = []
    for output in made.cells[-1].outputs:
        data = output.get("data", {})
        view = data.get("application/vnd.jupyter.widget-view+json")
        if view and manager:
            kind = "application/vnd.jupyter.widget-view+json"
            parts.append(f'<script type="{kind}">{json.dumps(view)}</script>')
        else:
            parts.append(data.get("text/html", ""))
    if manager:
        state = made.metadata.get("widgets", {}).get("application/vnd.jupyter.widget-state+json")
        scripts = Path(sys.prefix) / "share" / "jupyter" / "nbextensions"
        paths = {
            folder.name: f"{folder.as_uri()}/index"
            for folder in scripts.iterdir()
            if (folder / "index.js").is_file()
        }
        kind = "application/vnd.jupyter.widget-state+json"
        text = json.dumps(state).replace("</", "<\\/")
        parts[:0] = [
            f'<script src="{(manager / "require.js").as_uri()}"></script>',
            f"<script>requirejs.config({{paths: {json.dumps(paths)}}})</script>",
            f'<script src="{(manager / "embed-amd.js").as_uri()}"></script>',
            f'<script type="{kind}">{text}</script>',
        ]
    return "<!DOCTYPE html><meta charset='utf-8'><body>" + "\n".join(parts)


def on_a_page(
    window: "Browser", folder: Path, first: str, viewer: str, manager: Path | None = None
) -> str:
    """What a page of outputs shows: "live", "picture", or "nothing"."""
    folder.mkdir(parents=True)
    page = window.new_context(viewport={"width": 1200, "height": 1200}).new_page()
    (folder / "page.html").write_text(page_of(executed(first, cell(viewer, 48)), manager), "utf-8")
    page.goto((folder / "page.html").as_uri())
    patience_s = 60 if manager else 1
    live = seconds_until_drawn(page, viewer, patience_s) is not None
    still = page.locator("img").first
    seen = still.count() and still.evaluate("image => image.naturalWidth") > 0
    page.screenshot(path=folder / "page.png")
    page.context.close()
    return "live" if live else "picture" if seen else "nothing"
