"""What each entry of a folder is: a scan, a label, another channel, DICOM, or something else.

One place decides, and every command asks it. The kind of a file is told by its ending, in any case,
or by its first bytes; a label by the words of its name and of the folders it lies in. A label must
never become a scan, so a doubtful name counts as a label; what no name tells, the values tell when
the scan is read (``formats.read_scan``).
"""

import os
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ssltut.data.labels import BONE_FILES
from ssltut.errors import DataError, DataWarning
from ssltut.files import check_regular, read_json
from ssltut.io.dicom_series import is_dicom
from ssltut.io.volume import Finding, Note, collecting, merged

Words = tuple[str, ...]  # of a name, in small letters
ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr")  # of files with voxels
VOXELS = re.compile(r"(\.raw|\.img)?\.(img|raw|zraw|gz)$", re.IGNORECASE)  # beside a header
LABEL = re.compile(
    r"\d*(segs?|segmentations?|labels?|labelmaps?|masks?|gt|truth|groundtruth|annotations?)"
    r"(tr|ts|val)?"
)
SCAN = re.compile(
    r"(image|img|imaging|volume|vol|scan|data|nifti|dicom|dcm|ct|mr|mri|orig|original)s?"
    r"(tr|ts|val)?"
)
SETS = ("tr", "ts", "val", "train", "test", "training", "testing", "validation")
BEFORE = ("manual", "expert", "ground", "reference", "total")  # words that labels may begin with
SHARED = ("images", "scans", "nifti")  # folders whose names begin so hold many patients' scans
CT_MR = ("ct", "pet", "suv", "t1", "t1w", "t1n", "t1c", "t1ce", "t1gd", "t2", "t2w", "t2f")
CHANNELS = (*CT_MR, "flair", "adc", "dwi", "pd", "pdw", "swi", "water", "fat")
PASSED = "txt csv tsv json yaml yml md rst log pdf html htm xml xls xlsx doc docx ppt pptx png jpg"
PASSED += " jpeg gif bmp svg css js py ipynb sh bat ini cfg toml bib db mrml md5 sha256"
PASSED_NAMES = ("README", "LICENSE", "LICENCE", "DICOMDIR", "VERSION", "SHA256SUMS", "MD5SUMS")
RECORD_OF_PREDICTIONS = "predictions.json"  # beside predictions: what each was made of
ARCHIVES = ("zip", "tar", "gz", "tgz", "7z", "rar", "bz2", "xz", "mrb")


def stem_of(path: Path) -> str:
    """The file name without the ending of a file with voxels, in any case."""
    name = path.name
    ending = next((e for e in ENDINGS if name.lower().endswith(e)), "")
    return name[: len(name) - len(ending)]


def has_voxels(path: Path) -> bool:
    """Whether the ending says that this is a scan or a label, DICOM apart; no hidden file is."""
    return path.name.lower().endswith(ENDINGS) and not path.name.startswith(".")


def predictions_in(paths: Iterable[Path]) -> Iterator[Path]:
    """The files among ``paths`` and in the folders among them, without the record beside them."""
    for path in map(Path, paths):
        if path.is_dir():
            yield from filter(has_voxels, sorted(path.iterdir()))
        elif path.name != RECORD_OF_PREDICTIONS:
            yield path


def words_of(name: str) -> Words:
    """The words of a name in small letters: ``LabelsTr_img01`` is labels, tr, img, 01."""
    words: list[str] = []
    for word in re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()):
        kind = word.rstrip("0123456789")
        is_kind = SCAN.fullmatch(kind) or LABEL.fullmatch(kind)
        words += [kind, word[len(kind) :]] if is_kind and kind != word else [word]
    return tuple(words)


@dataclass(frozen=True)
class Entry:
    """A file, or a folder of masks, and what its names say."""

    path: Path
    place: tuple[str, ...]  # folders from the root on, without those that only sort files by kind
    words: Words  # of the scan; in a label's name those before (or after) "seg"

    @property
    def core(self) -> Words:
        """The words that tell scans apart: no "image", no channel, no "0000"."""
        words = [word for word in self.words if not SCAN.fullmatch(word)]
        if words and words[-1] in ("0000", _channel_of(self)):
            words.pop()
        return tuple(words)


@dataclass
class Survey:
    """What lies below a folder."""

    scans: list[Entry] = field(default_factory=list)
    labels: list[Entry] = field(default_factory=list)  # files
    dicom: list[Path] = field(default_factory=list)


def survey(
    folder: Path,
    note: Note,
    modality: str = "CT",
    channel: str | None = None,
    structures: Collection[str] = tuple(BONE_FILES),
) -> Survey:
    """Sort all files below ``folder`` (or the one file); ``note`` gets what is left out, once.

    ``structures`` are names of masks. Of a scan's channels the one called ``channel``, else
    ``modality`` or 0000, else the first is its scan.
    """
    found = Survey()
    left_out: list[Finding] = []
    for path in files_below(folder, left_out.append):
        kind, reason = kind_of(path)
        if kind == "voxels":
            entry = entry_of(path, folder)
            named = stem_of(path).lower() in structures
            (found.labels if named or is_label(path, folder) else found.scans).append(entry)
        elif kind == "dicom":
            found.dicom.append(path)
        elif reason:
            left_out.append(reason)
    labelled = {entry.words for entry in found.labels}
    found.scans = list(_one_channel_each(found.scans, modality, channel, labelled, left_out.append))
    for finding in merged(left_out):
        note(finding)
    return found


def files_below(folder: Path, note: Note) -> list[Path]:
    """The files in the order of their names, hidden ones left out, links followed."""
    if not folder.is_dir():
        return [folder]
    files, seen = [], set()

    def unreadable(error: OSError) -> None:
        what = f"the folder cannot be read ({error.strerror})"
        note(DataError(what, where=error.filename, fix="check its permissions"))

    for place, folders, names in os.walk(folder, onerror=unreadable, followlinks=True):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            note(DataWarning("left out: a link to a folder that is read already", where=place))
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(place, name) for name in names if not name.startswith(".")):
            with collecting(note, path):
                if not has_voxels(path):  # these are refused when they are read
                    check_regular(path)
                files.append(path)
    return sorted(files)


def kind_of(path: Path) -> tuple[str, DataWarning | None]:
    """``voxels``, ``dicom`` or ``other``, and for the last a warning if it may hold a scan."""
    if has_voxels(path):
        return "voxels", None
    if path.name.upper() in PASSED_NAMES or _belongs_to_a_header(path):
        return "other", None
    if is_dicom(path):
        return "dicom", None
    ending = path.suffix.lower().removeprefix(".")
    if ending in PASSED.split():
        return "other", None
    if ending in ARCHIVES:
        return "other", DataWarning("left out: an archive", where=path, fix="unpack it first")
    what = f"left out: files {f'.{ending}' if ending else 'without an ending'} are not read"
    fix = "if it is a scan or a label, save it as .nii.gz, for example with 3D Slicer"
    return "other", DataWarning(what, where=path, fix=fix)


def _belongs_to_a_header(path: Path) -> bool:
    """Whether it holds the voxels of the .hdr, .mhd or .nhdr beside it."""
    stem, n = VOXELS.subn("", path.name)
    headers = (path.with_name(stem + end) for end in (".hdr", ".mhd", ".nhdr"))
    return bool(n) and any(header.is_file() for header in headers)


def is_label(path: Path, root: Path) -> bool:
    """Whether a word of the name, or a folder between ``root`` and the file, says label."""
    if any(LABEL.fullmatch(word) for word in words_of(stem_of(path))):
        return True
    return any(_holds_labels(part) for part in _between(path, root))


def _holds_labels(folder: str) -> bool:
    words = [word for word in words_of(folder) if word not in BEFORE]
    return bool(words) and bool(LABEL.fullmatch(words[0]))


def _between(path: Path, root: Path) -> tuple[str, ...]:
    return path.relative_to(root).parts[:-1] if path != root else ()


def entry_of(path: Path, root: Path) -> Entry:
    """What the names of a file or folder say; only folders below ``root`` count."""
    place: list[str] = []
    for part in _between(path, root):
        words = words_of(part)
        sorts = all(SCAN.fullmatch(word) or word in SETS for word in words)
        if sorts or _holds_labels(part):
            place += [name for name in SETS if words and words[-1].endswith(name)][-1:]
        else:
            place.append(part)
    words = words_of(stem_of(path))
    marks = [i for i, word in enumerate(words) if LABEL.fullmatch(word)]
    if marks:
        rest = tuple(word for word in words if not LABEL.fullmatch(word))
        words = words[: marks[0]] or rest
    return Entry(path, tuple(place), words)


def patient_of(entry: Entry, root: Path) -> str:
    """The first folder that is not shared by patients, else the file itself."""
    for part in entry.place:
        shared = part in SETS or part.lower().startswith(SHARED) or half_of(part)
        if not shared:
            return part
    return str(entry.path)


def half_of(part: str) -> str | None:
    """``labelled`` or ``unlabelled``, where a folder has this name: the halves of a data set."""
    for word in words_of(part):
        if match := re.fullmatch(r"(un)?label(l)?ed", word):
            return "unlabelled" if match[1] else "labelled"
    return None


def _one_channel_each(
    scans: Iterable[Entry], modality: str, channel: str | None, labelled: set[Words], note: Note
) -> Iterator[Entry]:
    """Numbers are of channels only where there is a 0000 and no label bears one."""
    groups: dict[tuple, list[tuple[str, Entry]]] = {}  # of one scan: channels and their names
    for entry in scans:
        name = _channel_of(entry)
        words = entry.words[:-1] if name else (str(entry.path),)
        groups.setdefault((entry.path.parent, words), []).append((name, entry))
    for (folder, _), group in groups.items():
        names = sorted(name for name, _ in group)
        counted = "0000" not in names or any(entry.words in labelled for _, entry in group)
        if (names[-1].isdecimal() and counted) or (len(group) == 1 and not (names[0] and channel)):
            yield from (entry for _, entry in group)
            continue
        wanted = _number_of(channel or modality, folder)
        first = next((n for n in (wanted, "0000") if n in names), None if channel else names[0])
        for name, entry in group:
            if name == first:
                yield entry
                continue
            taken = f"channel {first} is taken" if first else f"there is no channel {channel}"
            what = f"left out: channel {name} of a scan; {taken}"
            note(DataWarning(what, where=entry.path, fix="--channel NAME takes another"))


def _channel_of(entry: Entry) -> str:
    """The last word of a scan's name, where it is one of a channel: t1, or 0000 of nnU-Net."""
    last = entry.words[-1] if entry.words else ""
    in_nnunet = re.fullmatch(r"images?(tr|ts|val)", entry.path.parent.name.lower())
    return last if last in CHANNELS or (in_nnunet and re.fullmatch(r"\d{4}", last)) else ""


def _number_of(channel: str, folder: Path) -> str:
    """A channel as its files are called: 1 is 0001, and dataset.json may give numbers to names."""
    channel = channel.lower()
    if channel.isdecimal():
        return channel.zfill(4)
    file = folder.parent / "dataset.json"
    try:
        about = read_json(file) if file.is_file() else {}
    except DataError:  # somebody else's file
        return channel
    names = about.get("channel_names") or about.get("modality")
    pairs = names.items() if isinstance(names, dict) else ()
    return next((str(i).zfill(4) for i, name in pairs if str(name).lower() == channel), channel)
