"""Memory, asked before it is taken: who takes too much is ended by the system without a word."""

from pathlib import Path

import psutil

from ssltut.errors import ConfigError

CGROUPS = Path("/sys/fs/cgroup")  # the limits of containers and of jobs, on Linux
GIB = 2.0**30


def free_memory() -> float:
    """Bytes that this process can still take, from the machine and within its container or job."""
    return min(psutil.virtual_memory().available, _left_in_groups())


def own_group() -> str:
    """The control group of this process, as a path below ``CGROUPS``; empty for that itself."""
    try:
        return Path("/proc/self/cgroup").read_text().rpartition("::/")[2].strip()
    except OSError:  # not on Linux
        return ""


def _left_in_groups() -> float:
    """What the control groups of this process leave; inactive pages of files can be given back."""
    group = CGROUPS / own_group()
    left = float("inf")
    for folder in (group, *group.parents):
        try:
            limit = (folder / "memory.max").read_text().strip()
            used = float((folder / "memory.current").read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except OSError:
            continue
        if limit != "max":
            left = min(left, float(limit) - used + float(stat["inactive_file"]))
    return left


def check_memory(
    needed: float, work: str, *, where: object, fix: str, free: float | None = None
) -> None:
    """Raises ConfigError where ``work`` would take more bytes than ``free``; None: those here."""
    free = free_memory() if free is None else free
    if needed > free:
        found = f"{work} needs about {needed / GIB:.1f} GiB of memory, {free / GIB:.1f} are free"
        raise ConfigError(found, where=where, fix=fix)
