"""Progress bars where somebody watches: in a terminal and in a notebook."""

import os
import sys
from collections.abc import Iterable
from typing import Any

from ssltut.text import plain


def open_notebook() -> str:
    """Who shows a notebook: "colab", "vscode", "lab" (JupyterLab or Notebook 7), or "": nobody.

    VS Code starts kernels without a Jupyter server, and tells them the notebook's path.
    """
    if "google.colab" in sys.modules:
        return "colab"
    if hasattr(sys.modules["__main__"], "__vsc_ipynb_file__"):
        return "vscode"
    return "lab" if os.environ.get("JPY_SESSION_NAME") else ""


def is_first_process() -> bool:
    """Whether this is the process that reports, of those that ``torchrun`` started as one."""
    return os.environ.get("RANK", "0") == "0"


def watched() -> bool:
    """True when stderr is a terminal, or when this is the kernel of an open notebook.

    A notebook that papermill or nbconvert runs is not watched: its saved copy shows no bars. The
    environment variable TQDM_DISABLE=1 turns every bar off.
    """
    if os.environ.get("TQDM_DISABLE", "0") not in ("", "0") or not is_first_process():
        return False
    if "ipykernel" in sys.modules:
        return bool(open_notebook())
    return sys.stderr is not None and sys.stderr.isatty()


def progress_bar(
    items: Iterable[Any] | None = None,
    description: str = "",
    *,
    total: int | None = None,
    unit: str = "it",
    show: bool = True,
    leave: bool = True,
) -> Any:
    """A tqdm bar over ``items``, or over ``total`` things that ``update`` counts.

    It draws nothing, and its ``disable`` is True, where nobody watches or ``show`` is False.

    unit   what is counted, as "step" or "scan"
    leave  False: the bar vanishes when it is done, as one inside another should
    """
    from tqdm.auto import tqdm

    hidden = not (show and watched())
    return tqdm(items, plain(description), total, leave, unit=unit, disable=hidden)
