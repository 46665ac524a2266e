"""What the entries of a folder are, by their names and kinds, and which label belongs to what."""

import json
import os
from pathlib import Path

import pytest
from toy_dicom import one_slice, write_series
from toy_nifti import HU, LABEL, save

from ssltut.data.labels import BONE_FILES
from ssltut.io.entries import half_of, is_label, survey, words_of
from ssltut.io.pairing import pair

BONES = tuple(BONE_FILES)


def touch(root: Path, *names: str) -> Path:
    """Empty files: nothing here reads a voxel."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def sorted_out(root: Path, **options: object) -> tuple[list[str], list[str], list]:
    """Names of scans and labels below ``root``, and what was said."""
    findings: list = []
    found = survey(root, findings.append, **options)
    scans, labels = (
        [str(e.path.relative_to(root)) for e in x] for x in (found.scans, found.labels)
    )
    return scans, labels, findings


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("LabelsTr_01", ("labels", "tr", "01")),
        ("img0001", ("img", "0001")),
        ("p1-hip.left", ("p1", "hip", "left")),
        ("LabeledCase50", ("labeled", "case50")),
        ("Müller 髋", ("müller", "髋")),
    ],
)
def test_words_of_a_name(name: str, words: tuple[str, ...]) -> None:
    assert words_of(name) == words


@pytest.mark.parametrize(
    "name",
    [
        "a_seg.nii.gz",
        "segmentation-3.nii",
        "GT.NII.GZ",
        "ct.seg.nrrd",
        "ct-label.nrrd",
        "b_mask_4label.mha",
        "labelsTr/a.nii.gz",
        "seg/liver.nii",
        "manual_segmentations/a.nii",
        "p1/masks/a.nii",
        "seg1.nii.gz",
    ],
)
def test_names_that_say_label(name: str) -> None:
    assert is_label(Path(name), Path())


@pytest.mark.parametrize(
    "name",
    [
        "a.nii.gz",
        "labelled/images/a.nii.gz",
        "UnlabeledCase2000/a.nii",
        "HipSegmentation/p1/ct.nii.gz",
        "ct_masked.nii",
        "segal_anna.nii.gz",
        "images/volume-3.nii",
    ],
)
def test_names_that_do_not_say_label(name: str) -> None:
    assert not is_label(Path(name), Path())


def test_halves_of_a_data_set() -> None:
    assert half_of("LabeledCase50") == half_of("labelled") == "labelled"
    assert half_of("Unlabelled_CT") == half_of("UnlabeledCase2000") == "unlabelled"
    assert half_of("labels") is None


def test_endings_count_in_any_case_and_hidden_files_do_not(tmp_path: Path) -> None:
    touch(tmp_path, "A.NII.GZ", "b.Nrrd", "._A.NII.GZ", ".git/c.nii", "d.hdr", "d.img", "e.mhd")
    touch(tmp_path, "e.raw", "notes.txt", "README")
    assert sorted_out(tmp_path) == (["A.NII.GZ", "b.Nrrd", "d.hdr", "e.mhd"], [], [])


def test_what_may_hold_a_scan_but_is_not_read_is_named_once_with_what_to_do(tmp_path: Path) -> None:
    touch(tmp_path, "a.mgz", "b.mgz", "data.zip", "f.raw")
    scans, _, findings = sorted_out(tmp_path)
    text = "\n".join(map(str, findings))
    assert not scans
    assert len(findings) == 3
    assert "files .mgz are not read (in 2 files, this is the first) Next: if it is" in text
    assert "save it as .nii.gz" in text
    assert "an archive Next: unpack it first" in text


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_links_are_followed_and_what_is_no_file_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "archive/p0/ct.nii.gz", "study/own.nii.gz")
    (tmp_path / "study" / "p0").symlink_to(tmp_path / "archive" / "p0", target_is_directory=True)
    (tmp_path / "study" / "p0" / "again").symlink_to(tmp_path / "study", target_is_directory=True)
    (tmp_path / "study" / "gone.dcm").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "study" / "pipe")
    scans, _, findings = sorted_out(tmp_path / "study")
    assert scans == ["own.nii.gz", "p0/ct.nii.gz"]
    named = [Path(finding.where).name for finding in findings]
    assert sorted(named[:2]) == ["gone.dcm", "pipe"]
    assert named[2] == "again"
    assert "a link to nothing" in "".join(map(str, findings[:2]))
    assert "a FIFO" in "".join(map(str, findings[:2]))
    assert "read already" in str(findings[2])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "p0/ct.nii.gz")
    (tmp_path / "p0").chmod(0)
    assert "cannot be read" in str(sorted_out(tmp_path)[2][0])


def test_dicom_without_mark_and_ending_is_seen(tmp_path: Path) -> None:
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    data = one_slice(0, HU[..., 0].T, "1.2")
    buffer = DicomBytesIO()
    buffer.is_little_endian = buffer.is_implicit_VR = True
    data["PixelData"].VR = "OW"
    write_dataset(buffer, data)
    (tmp_path / "IM0001").write_bytes(buffer.getvalue())
    (tmp_path / "IM0002").write_bytes(buffer.getvalue()[:8] + b"no tags")
    findings: list = []
    found = survey(tmp_path, findings.append)
    assert [path.name for path in found.dicom] == ["IM0001"]
    assert "files without an ending are not read" in str(findings[0])


def test_one_channel_of_a_scan_is_taken_and_the_others_are_named(tmp_path: Path) -> None:
    names = ["imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz", "labelsTr/a.nii.gz"]
    touch(tmp_path / "nn", *names)
    scans, labels, findings = sorted_out(tmp_path / "nn")
    assert (scans, labels) == ([names[0]], [names[2]])
    assert "channel 0001 of a scan; channel 0000 is taken Next: --channel" in str(findings[0])
    assert sorted_out(tmp_path / "nn", channel="1")[0] == [names[1]]
    about = {"channel_names": {"0": "PET", "1": "CT"}}
    (tmp_path / "nn" / "dataset.json").write_text(json.dumps(about))
    assert sorted_out(tmp_path / "nn")[0] == [names[1]]
    (tmp_path / "nn" / "dataset.json").write_text("{")
    assert sorted_out(tmp_path / "nn")[0] == [names[0]]


def test_channels_by_their_words(tmp_path: Path) -> None:
    touch(tmp_path, "p1/s_t1.nii", "p1/s_flair.nii", "p1/s_seg.nii", "p2/ct.nii", "p2/pet.nii")
    scans, labels, findings = sorted_out(tmp_path)
    assert (scans, labels) == (["p1/s_flair.nii", "p2/ct.nii"], ["p1/s_seg.nii"])
    assert len(findings) == 2
    scans, _, findings = sorted_out(tmp_path, channel="T1")
    assert scans == ["p1/s_t1.nii"]
    assert sum("there is no channel T1" in str(finding) for finding in findings) == 2


def test_numbers_of_patients_are_no_channels(tmp_path: Path) -> None:
    for names in (
        ["scan_0000.nii", "scan_0001.nii"],
        ["imagesTs/amos_0100.nii", "imagesTs/amos_0101.nii"],
    ):
        root = touch(tmp_path / names[0][:6], *names)
        assert sorted_out(root) == (names, [], [])
    names = [f"imagesTr/amos_{i:04d}.nii" for i in range(3)]
    labels = [name.replace("images", "labels") for name in names]
    root = touch(tmp_path / "amos", *names, *labels)
    assert sorted_out(root) == (names, labels, [])


LAYOUTS = {  # files, and the label of each scan
    "folders": (["images/a.nii", "labels/a.nii"], {"images/a.nii": "labels/a.nii"}),
    "nnU-Net": (
        ["imagesTr/a_0000.nii", "labelsTr/a.nii", "imagesTs/b_0000.nii", "dataset.json"],
        {"imagesTr/a_0000.nii": "labelsTr/a.nii"},
    ),
    "same name in training and test": (
        ["imagesTr/a_0000.nii", "labelsTr/a.nii", "imagesTs/a_0000.nii", "labelsTs/a.nii"],
        {
            "imagesTr/a_0000.nii": "labelsTr/a.nii",
            "imagesTs/a_0000.nii": "labelsTs/a.nii",
        },
    ),
    "KiTS": (
        ["c1/imaging.nii", "c1/segmentation.nii", "c2/imaging.nii", "c2/segmentation.nii"],
        {
            "c1/imaging.nii": "c1/segmentation.nii",
            "c2/imaging.nii": "c2/segmentation.nii",
        },
    ),
    "LiTS": (
        ["volume-0.nii", "segmentation-0.nii", "volume-1.nii", "segmentation-1.nii"],
        {"volume-0.nii": "segmentation-0.nii", "volume-1.nii": "segmentation-1.nii"},
    ),
    "BTCV": (
        ["img/img0001.nii", "img/img0002.nii", "label/label0001.nii", "label/label0002.nii"],
        {f"img/img000{i}.nii": f"label/label000{i}.nii" for i in (1, 2)},
    ),
    "ACDC": (
        ["p1/p1_frame01.nii", "p1/p1_frame01_gt.nii", "p1/p1_frame12.nii", "p1/p1_4d.nii"],
        {"p1/p1_frame01.nii": "p1/p1_frame01_gt.nii"},
    ),
    "BraTS": (["b1/b1_t1.nii", "b1/b1_seg.nii"], {"b1/b1_t1.nii": "b1/b1_seg.nii"}),
    "suffix": (["x.nii", "x_seg.nii", "y.nii"], {"x.nii": "x_seg.nii"}),
    "Slicer": (
        ["p1/ct.nrrd", "p1/Segmentation.seg.nrrd"],
        {"p1/ct.nrrd": "p1/Segmentation.seg.nrrd"},
    ),
    "TotalSegmentator": (
        ["s1/ct.nii", *(f"s1/segmentations/{name}.nii" for name in (*BONES, "liver"))],
        {"s1/ct.nii": "s1/segmentations"},
    ),
    "masks in seg/": (
        ["s1/ct.nii", *(f"s1/seg/{name}.nii" for name in BONES)],
        {"s1/ct.nii": "s1/seg"},
    ),
    "masks beside the scan": (
        ["s1/ct.nii", *(f"s1/{name}.nii" for name in BONES)],
        {"s1/ct.nii": "s1"},
    ),
    "masks of other structures": (
        ["s1/ct.nii", "s1/seg/liver.nii", "s1/seg/spleen.nii"],
        {"s1/ct.nii": "s1/seg"},
    ),
    "halves": (
        ["labelled/images/a.nii", "labelled/labels/a.nii", "unlabelled/images/a.nii"],
        {"labelled/images/a.nii": "labelled/labels/a.nii"},
    ),
    "a label for nobody": (["images/a.nii", "images/b.nii", "labels/c.nii"], {}),
    "a label for either": (["p1/a.nii", "p1/b.nii", "p1/seg.nii"], {}),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_labels_find_their_scans(tmp_path: Path, name: str) -> None:
    files, expected = LAYOUTS[name]
    findings: list = []
    found = survey(touch(tmp_path, *files), findings.append)
    scans = {entry.path: [entry] for entry in found.scans}
    pairs, several, free = pair(scans, found.labels, BONES, tmp_path, findings.append)
    named = {str(s.relative_to(tmp_path)): str(p.relative_to(tmp_path)) for s, p in pairs.items()}
    assert named == expected
    assert not several
    assert not findings
    assert bool(free) == name.startswith("a label for")


def test_two_labels_of_one_scan_are_refused_by_name(tmp_path: Path) -> None:
    findings: list = []
    found = survey(touch(tmp_path, "c.nii", "c_seg.nii", "c_mask.nii"), findings.append)
    scans = {entry.path: [entry] for entry in found.scans}
    pairs, several, free = pair(scans, found.labels, BONES, tmp_path, findings.append)
    assert not pairs
    assert not free
    assert several == {tmp_path / "c.nii"}
    assert "2 files could be its label: c_mask.nii, c_seg.nii" in str(findings[0])


def test_one_file_is_surveyed_by_its_own_name(tmp_path: Path) -> None:
    path = save(tmp_path / "labels.nii", LABEL)
    assert survey(path, print).labels[0].path == path
    assert survey(write_series(tmp_path / "s"), print).dicom
