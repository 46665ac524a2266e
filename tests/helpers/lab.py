"""What the browser tests are made of: JupyterLab, Chromium without a network, mouse and keys.

Nothing of the user's is touched: the server's settings, workspaces, kernels' files and the
notebooks lie in a folder of the test. All waiting is for a condition; ``PATIENCE_S`` only ends a
wait for something that will never come.
"""

import io
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from printing import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

ROOT = Path(__file__).resolve().parents[2]
SHOTS = ROOT / "build" / "browser"
PATIENCE_S = 600
PATHS = {"lab": "lab", "notebook": "notebooks"}  # below the address of a server
# No name but the machine's own can be looked up, by pages and by web sockets alike. WebGL is drawn
# by the processor.
FLAGS = (
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--no-sandbox",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    # On a busy machine the watchdog takes slow drawing for a crash, and WebGL is gone.
    "--disable-gpu-watchdog",
    "--disable-gpu-process-crash-limit",
)
KERNEL = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel"
READY = f"() => {KERNEL}?.status === 'idle'"
# What the kernel was sent before it has done and the page has heard of, and the page has drawn.
QUIET = f"""async () => {{
    await {KERNEL}.requestExecute({{ code: "", silent: true, store_history: false }}).done;
    for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame); }}"""


def pixels(png: bytes) -> np.ndarray:
    """A screenshot as (rows, columns, 3) uint8."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def middle(of: "Locator") -> tuple[float, float]:
    """The middle of what is shown, in pixels of the window."""
    box = of.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def on_surface(of: "Locator") -> tuple[float, float]:
    """A place in the middle of what is drawn on a white ground, in pixels of the window."""
    drawn = np.argwhere(pixels(of.screenshot()).max(2) < 235)
    row, column = drawn[np.abs(drawn - np.median(drawn, 0)).sum(1).argmin()]
    box = of.bounding_box()
    return box["x"] + float(column), box["y"] + float(row)


def colours(png: bytes) -> int:
    """How many colours a screenshot has, each channel in 16 steps: 1 for a blank, tens for a shaded
    surface.
    """
    return len(np.unique(pixels(png) // 16 @ np.array([256, 16, 1])))


def _environment(folder: Path) -> dict[str, str]:
    """That of a learner, with the files of Jupyter below ``folder``.

    conftest asks for pictures and a session that is sparing with threads: that is taken away.
    """
    conftest = ("SSLTUT_FRONTEND", "MPLBACKEND", "JPY_SESSION_NAME")
    own = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "IPYTHONDIR": "ipython",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    }
    kept = {name: value for name, value in os.environ.items() if name not in conftest}
    return kept | {name: str(folder / part) for name, part in own.items()}


@contextmanager
def jupyter(folder: Path, app: str = "lab", **environment: str) -> Iterator[str]:
    """JupyterLab (``app`` "notebook": Notebook 7) on ``folder / "notebooks"`` as a learner starts
    it; its address with a token.
    """
    settings, token = folder / "config" / "labconfig", secrets.token_hex(16)
    (folder / "notebooks").mkdir(parents=True, exist_ok=True)
    settings.mkdir(parents=True, exist_ok=True)
    # The one departure from a fresh install: nobody is asked whether they want news from the
    # internet.
    page = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    (settings / "page_config.json").write_text(json.dumps(page))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = (
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={folder / 'notebooks'}",
        "--expose-app-in-browser",
        "--LabApp.news_url=",
    )
    command = [sys.executable, "-m", "jupyter", app, *options]
    address, log = f"http://127.0.0.1:{port}", folder / "jupyter.log"
    with log.open("wb") as sink:
        server = subprocess.Popen(
            command, cwd=folder, env=_environment(folder) | environment, stdout=sink, stderr=sink
        )
        try:
            _wait(f"{address}/api/status?token={token}", server, log)
            yield f"{address}/{PATHS[app]}?token={token}"
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _wait(address: str, server: subprocess.Popen, log: Path) -> None:
    """Wait until JupyterLab answers; raises RuntimeError when it ended instead."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + PATIENCE_S
    while server.poll() is None and time.monotonic() < end:
        try:
            opener.open(address, timeout=PATIENCE_S).close()
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.3)
    raise RuntimeError(f"JupyterLab did not answer:\n{log.read_text(errors='replace')[-3000:]}")


@contextmanager
def browser() -> Iterator["Browser"]:
    """Chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        try:
            yield opened
        finally:
            opened.close()


def wanting() -> str | None:
    """Why there can be no browser test here; None when there can."""
    if (program := chromium()) is None:
        return "no Chromium found (install Debian's chromium, or set SSLTUT_CHROMIUM to a browser)"
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return f"{program} is here, playwright is not: pip install -e .[browser]"
    return None


@contextmanager
def browser_or_skip() -> Iterator["Browser"]:
    """The browser for a test; without one it skips, or fails where SSLTUT_BROWSER=required."""
    if why := wanting():
        (pytest.fail if os.environ.get("SSLTUT_BROWSER") == "required" else pytest.skip)(why)
    with browser() as opened:
        yield opened


@dataclass
class Desk:
    """One browser window on JupyterLab.

    outside  the requests that wanted to leave the machine, all refused;  errors  what the console
             called an error
    """

    browser: "Browser"
    address: str
    folder: Path
    size: tuple[int, int] = (1500, 1700)
    outside: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        size = dict(zip(("width", "height"), self.size, strict=True))
        self.context = self.browser.new_context(viewport=size)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(1000 * PATIENCE_S)
        self.context.route(
            lambda url: (
                url.startswith(("http://", "https://")) and not url.startswith("http://127.0.0.1:")
            ),
            self._refuse,
        )
        self.page.on(
            "websocket",
            lambda socket: "//127.0.0.1:" in socket.url or self.outside.append(socket.url),
        )
        self.page.on(
            "console",
            lambda message: (
                message.type == "error"
                and self.errors.append(f"{message.text} ({message.location['url']})")
            ),
        )
        self.page.on("pageerror", lambda error: self.errors.append(f"uncaught: {error}"))

    def _refuse(self, route: object) -> None:
        self.outside.append(route.request.url)
        route.abort("internetdisconnected")

    def open(self, name: str) -> None:
        """Open a notebook in an empty workspace and wait for its kernel."""
        base, _, token = self.address.partition("?")
        path = f"tree/{name}?reset&" if base.endswith("/lab") else f"{name}?"
        self.page.goto(f"{base}/{path}{token}")
        self.page.wait_for_function(READY)

    def close(self) -> None:
        """Shut the kernels down and close the window."""
        if self.page.evaluate("() => Boolean(window.jupyterapp)"):
            self.page.evaluate("() => window.jupyterapp.serviceManager.sessions.shutdownAll()")
        self.context.close()

    def run(self) -> None:
        """Run all cells and wait for the kernel. Fails at the first cell that raises."""
        failed = self.page.evaluate("""async () => {
            const panel = window.jupyterapp.shell.currentWidget, book = panel.content;
            for (let n = 0; n < book.widgets.length; n++) {
                book.activeCellIndex = n; book.deselectAll();
                await window.jupyterapp.commands.execute('notebook:run-cell');
                const made = book.widgets[n].model.toJSON().outputs ?? [];
                const failed = made.find(output => output.output_type === 'error');
                if (failed) return `cell ${n}: ${failed.ename}: ${failed.evalue}`;
            } }""")
        assert failed is None, failed

    def cell(self, text: str) -> int:
        """The index of the one code cell whose source contains ``text``."""
        found = self.page.evaluate(
            """text => window.jupyterapp.shell.currentWidget.content.widgets.flatMap((cell, n) => {
            const { type, sharedModel } = cell.model;
            return type === 'code' && sharedModel.getSource().includes(text) ? [n] : []; })""",
            text,
        )
        assert len(found) == 1, f"{len(found)} code cells contain {text!r}"
        return found[0]

    def output(self, cell: int) -> "Locator":
        """Bring a cell's output on the screen and point at it."""
        self.page.evaluate(
            """async n => {
            const book = window.jupyterapp.shell.currentWidget.content;
            book.activeCellIndex = n; book.deselectAll(); await book.scrollToItem(n, 'start'); }""",
            cell,
        )
        shown = self.page.locator(
            f'.jp-Notebook .jp-Cell[data-windowed-list-index="{cell}"] .jp-Cell-outputArea'
        )
        shown.wait_for()
        shown.scroll_into_view_if_needed()
        return shown

    def ask(self, code: str) -> str:
        """Run ``code`` in a new cell below the active one, read its text, remove the cell again."""
        text = self.page.evaluate(
            """async code => {
            const run = name => window.jupyterapp.commands.execute(name);
            await run('notebook:insert-cell-below');
            const cell = window.jupyterapp.shell.currentWidget.content.activeCell.model;
            cell.sharedModel.setSource(code);
            await run('notebook:run-cell');
            const outputs = cell.toJSON().outputs ?? [];
            await run('notebook:delete-cell');
            return outputs.map(o => o.text ?? o.data?.['text/plain'] ?? `${o.ename}: ${o.evalue}`)
                .flat().join(''); }""",
            code,
        )
        return text.strip()

    def save(self) -> None:
        """Save the notebook, as Ctrl+S does."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
        self.page.wait_for_function(
            "() => !window.jupyterapp.shell.currentWidget.context.model.dirty"
        )

    def drag(self, x: float, y: float, dx: float, dy: float) -> None:
        """Press the mouse at a place on the screen, move it, and let go.

        The page draws between two moves: what turns with the mouse reads it once for each frame.
        """
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        for step in range(1, 7):
            self.page.mouse.move(x + dx * step / 6, y + dy * step / 6)
            self.page.evaluate("() => new Promise(requestAnimationFrame)")
        self.page.mouse.up()

    def press(self) -> None:
        """A click that lasts for four frames, as a hand's does: plotly sees no shorter one."""
        self.page.mouse.down()
        for _ in range(4):
            self.page.evaluate("() => new Promise(requestAnimationFrame)")
        self.page.mouse.up()

    def shot(self, name: str, of: "Locator | None" = None) -> bytes:
        """A screenshot of ``of``, or of the window, kept as build/browser/``name``.png."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        return (of or self.page).screenshot(path=SHOTS / f"{name}.png")

    def settled(self, of: "Locator", until: Callable[[bytes], bool] = lambda png: True) -> bytes:
        """A screenshot of ``of`` once ``until`` holds of it and nothing changes it any more.

        That is when the kernel has answered all that it was sent and the picture is still the same.
        """
        end, last = time.monotonic() + PATIENCE_S, None
        while time.monotonic() < end:
            self.page.evaluate(QUIET)
            now = of.screenshot()
            if now == last and until(now):
                return now
            last = now
        raise AssertionError("the picture did not settle, or is not the one waited for")
