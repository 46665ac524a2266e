"""What runs here: for ``ssltut doctor`` and notebook 00."""

import os
import platform
import shutil

from ssltut import __version__
from ssltut.files import PACKAGE, commit

PACKAGES = ("torch", "lightning-fabric", "nibabel", "ipywidgets", "plotly", "itkwidgets")


def version() -> str:
    """In words: "0.2.0, release, commit v0.2.0-0-g7f55166"."""
    kind, found = "not a release", commit()
    if (PACKAGE.parent / ".git").exists():
        kind = "working copy"
    elif found.startswith(f"v{__version__}-0-g") and not found.endswith("-dirty"):
        kind = "release"
    return f"{__version__}, {kind}, commit {found or 'unknown'}"


def facts() -> dict[str, str]:
    """Versions, hardware, and the precision and frontend that would be chosen."""
    from importlib import metadata

    import psutil
    import torch

    from ssltut.nets.precision import auto_precision, best_device
    from ssltut.show.frontends import frontend

    device = best_device()
    name = platform.processor() or platform.machine()
    if device.type == "cuda":
        name = torch.cuda.get_device_name(0)
    values = {
        "ssltut": version(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "device": f"{device.type} ({name})",
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "free disk": f"{shutil.disk_usage('.').free / 2**30:.0f} GiB",
        "precision": auto_precision(device),
        "AMX": str(device.type == "cpu" and torch.cpu._is_amx_tile_supported()),
        "frontend": frontend(),
    }
    for package in PACKAGES:
        try:
            values[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            values[package] = "not installed"
    return values
