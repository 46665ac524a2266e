"""Which label belongs to which scan, by the names that data sets use."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from ssltut.errors import DataError
from ssltut.io.entries import Entry, entry_of, stem_of
from ssltut.io.volume import Note

Scans = Mapping[Path, Sequence[Entry]]  # the names of each scan: of its file, or of its folder


def pair(
    scans: Scans, labels: Sequence[Entry], structures: Collection[str], root: Path, note: Note
) -> tuple[dict[Path, Path], set[Path], list[Path]]:
    """The label of each scan; the scans that have several, which ``note`` gets; labels of none.

    A label belongs to the scan of its place (``Entry.place``) that has its words, else its core,
    else to the only scan there, where one of both has no name of its own. Files named after
    ``structures``, and files in one folder of which none has the name of a scan, are the masks of
    one label: that folder.
    """
    owners: dict[Path, list[Path]] = {}
    masks: dict[Path, list[Path]] = {}
    late: list[tuple[Entry, list[Path]]] = []
    for label in labels:
        if stem_of(label.path).lower() in structures:
            masks.setdefault(label.path.parent, []).append(label.path)
        elif (owner := _namesake(label, scans)) is not None:
            owners.setdefault(owner, []).append(label.path)
        else:
            late.append((label, [label.path]))
    lonely: dict[Path, list[Path]] = {}
    for label, _ in late:
        lonely.setdefault(label.path.parent, []).append(label.path)
    for folder, files in lonely.items():
        if folder in masks or (len(files) > 1 and not any(p.parent == folder for p in scans)):
            masks.setdefault(folder, []).extend(files)
    single = [(label, files) for label, files in late if label.path.parent not in masks]
    single += [(_folder_entry(folder, root), files) for folder, files in masks.items()]
    unowned: list[Path] = []
    named = set(owners)
    for label, files in single:
        alone = [path for path in _at(label, scans) if path not in named]
        scan_has_no_name = any(not entry.core for path in alone for entry in scans[path])
        if len(alone) == len(_at(label, scans)) == 1 and (not label.core or scan_has_no_name):
            owners.setdefault(alone[0], []).append(label.path)
        else:
            unowned += files
    several = {scan for scan, files in owners.items() if len(files) > 1}
    for scan in several:
        note(two_labels(scan, sorted(owners.pop(scan))))
    return {scan: files[0] for scan, files in owners.items()}, several, unowned


def two_labels(scan: Path, files: Sequence[Path]) -> DataError:
    """The error for a scan that several labels fit."""
    what = f"{len(files)} files could be its label: {', '.join(p.name for p in files[:3])}"
    fix = "say which with --label-files, or files: in the mapping"
    return DataError(what, where=scan, fix=fix)


def _folder_entry(folder: Path, root: Path) -> Entry:
    """A folder of masks: it lies where its files lie, and names no scan."""
    return Entry(folder, entry_of(folder / "mask.nii", root).place, ())


def _at(label: Entry, scans: Scans) -> list[Path]:
    return [path for path, names in scans.items() if any(n.place == label.place for n in names)]


def _namesake(label: Entry, scans: Scans) -> Path | None:
    """The only scan at the label's place with its words, else the only one with its core."""
    for part in ("words", "core"):
        own = getattr(label, part)
        same = [
            path
            for path in _at(label, scans)
            if any(n.place == label.place and getattr(n, part) == own for n in scans[path])
        ]
        if len(same) == 1:
            return same[0]
        if same:
            return None
    return None
