"""Which label belongs to which scan, by the names that data sets use."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from ssltut.errors import DataError
from ssltut.io.entries import Entry, entry_of, stem_of
from ssltut.io.volume import Note

Key = tuple[tuple[str, ...], str, tuple[str, ...]]  # place, part of the name, its words
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
    index = _index(scans)
    owners: dict[Path, list[Path]] = {}
    masks: dict[Path, list[Path]] = {}
    nameless: dict[Path, list[Entry]] = {}  # labels with no scan's name, by their folder
    for label in labels:
        folder = label.path.parent
        if stem_of(label.path).lower() in structures:
            masks.setdefault(folder, []).append(label.path)
        elif (owner := _namesake(label, index)) is not None:
            owners.setdefault(owner, []).append(label.path)
        else:
            nameless.setdefault(folder, []).append(label)
    folders = {path.parent for path in scans}
    single: list[tuple[Entry, list[Path]]] = []
    for folder, entries in nameless.items():
        files = [entry.path for entry in entries]
        if folder in masks or (len(files) > 1 and folder not in folders):
            masks.setdefault(folder, []).extend(files)
        else:
            single += [(entry, [entry.path]) for entry in entries]
    for folder, files in masks.items():  # it lies where its files lie, and names no scan
        single.append((Entry(folder, entry_of(folder / "mask.nii", root).place, ()), files))
    unowned: list[Path] = []
    named = set(owners)
    for label, files in single:
        there = index.get((label.place, "", ()), [])
        is_free = len(there) == 1 and there[0] not in named
        if is_free and (not label.core or any(not entry.core for entry in scans[there[0]])):
            owners.setdefault(there[0], []).append(label.path)
        else:
            unowned += files
    several = {scan for scan, files in owners.items() if len(files) > 1}
    for scan in several:
        note(two_labels(scan, sorted(owners.pop(scan))))
    return {scan: files[0] for scan, files in owners.items()}, several, unowned


def two_labels(scan: Path, files: Sequence[Path]) -> DataError:
    """The error for a scan that several labels fit."""
    what = f"{len(files)} files could be its label: {', '.join(p.name for p in files[:3])}"
    return DataError(what, where=scan, fix="say which with --label-files, or files: in the mapping")


def _index(scans: Scans) -> dict[Key, list[Path]]:
    """The scans of each place, of each name at a place, and of each core there."""
    index: dict[Key, list[Path]] = {}
    for path, names in scans.items():
        for name in names:
            for kind, words in {"": (), "words": name.words, "core": name.core}.items():
                found = index.setdefault((name.place, kind, words), [])
                if path not in found[-1:]:
                    found.append(path)
    return index


def _namesake(label: Entry, index: Mapping[Key, Sequence[Path]]) -> Path | None:
    """The only scan at the label's place with its words, else the only one with its core."""
    same = index.get((label.place, "words", label.words))
    same = same or index.get((label.place, "core", label.core), [])
    return same[0] if len(same) == 1 else None
