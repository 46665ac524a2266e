"""HTML to PDF by a Chromium without a window, where one is installed."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
TIMEOUT_S = 300


def chromium() -> str | None:
    """The browser: what SSLTUT_CHROMIUM names, else the first usual name on the path, else None."""
    chosen = os.environ.get("SSLTUT_CHROMIUM")
    return shutil.which(chosen) if chosen else next(filter(None, map(shutil.which, NAMES)), None)


def to_pdf(page: Path) -> Path | None:
    """Print ``page`` (HTML) to the PDF of the same name. None where no Chromium is installed.

    Raises RuntimeError with the browser's last words when it makes no PDF.
    """
    if (program := chromium()) is None:
        return None
    target = page.with_suffix(".pdf")
    target.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
        options += ["--no-pdf-header-footer", f"--print-to-pdf={target}", page.resolve().as_uri()]
        result = subprocess.run(
            [program, *options], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    if not target.exists():
        raise RuntimeError(f"{program} made no PDF of {page}:\n{result.stderr[-1000:]}")
    return target
