"""Files: the cache folder, what is opened and what is not, digests, and texts of strangers."""

import hashlib
import os
import socket
from pathlib import Path

import pytest

from ssltut import files
from ssltut.errors import DataError
from ssltut.files import (
    cache_dir,
    check_regular,
    digest_of,
    digests_of,
    read_json,
    read_text,
    read_yaml,
    user_file,
)


def test_the_cache_is_where_the_variable_says(monkeypatch, tmp_path):
    monkeypatch.setenv("SSLTUT_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("SSLTUT_CACHE")
    assert cache_dir().name == "ssltut"


def listening(path: Path) -> None:
    socket.socket(socket.AF_UNIX).bind(str(path))


IRREGULAR = {
    "nothing": (lambda path: None, "there is no such file"),
    "a folder": (Path.mkdir, "this is a folder, not a file"),
    "a FIFO": (os.mkfifo, "this is a FIFO, not a file"),
    "a socket": (listening, "this is a socket, not a file"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "this is a device, not a file"),
    "a link to nothing": (lambda path: path.symlink_to("lost"), "this is a link to nothing"),
    "a circle": (lambda path: path.symlink_to(path), "this is a link to nothing .Too many levels"),
    "too long a name": (lambda path: None, "cannot be opened .File name too long"),
}


@pytest.mark.parametrize("name", IRREGULAR)
def test_what_is_no_file_is_refused_before_it_is_opened(tmp_path: Path, name: str) -> None:
    make, words = IRREGULAR[name]
    path = tmp_path / ("x" * 300 if name == "too long a name" else "x")
    make(path)
    for use in (check_regular, read_text, read_json):
        with pytest.raises(DataError, match=words) as caught:
            use(path)
        assert caught.value.where == path
    if os.path.lexists(path):
        with pytest.raises(DataError, match=words):
            digest_of(path)


def test_a_file_and_a_link_to_one_are_regular(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    check_regular(tmp_path / "file")
    check_regular(tmp_path / "link")


def test_the_file_of_a_parameter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    with pytest.raises(DataError, match="no such file Next: correct the parameter scan at the top"):
        user_file("~/ct.nii.gz", "scan")
    (tmp_path / "ct.nii.gz").touch()
    assert user_file("~/ct.nii.gz", "scan") == tmp_path / "ct.nii.gz"


def test_a_digest_is_that_of_the_content_and_of_what_is_not_there(tmp_path: Path) -> None:
    content = b"scan" * 700_000  # more than a block
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "b").write_bytes(b"label")
    first, both = (hashlib.sha256(c).hexdigest()[:16] for c in (content, content + b"label"))
    assert digests_of(tmp_path / "a", tmp_path / "b") == [first, both]
    assert digest_of(tmp_path / "a", tmp_path / "b") == both
    none = hashlib.sha256(content + b"none").hexdigest()[:16]
    assert digest_of(tmp_path / "a", None) == digest_of(tmp_path / "a", tmp_path / "c") == none


def test_a_text_is_read_with_and_without_a_byte_order_mark(tmp_path: Path) -> None:
    for mark in (b"", b"\xef\xbb\xbf"):
        (tmp_path / "t.json").write_bytes(mark + b'{"h\xc3\xbcfte": 1}')
        assert read_json(tmp_path / "t.json") == {"hüfte": 1}


BAD_TEXTS = {
    "no UTF-8": (b"\xff\xfe\x00", "no text in UTF-8"),
    "no JSON": (b"{", "not valid JSON"),
    "no object": (b"[1]", "does not hold a JSON object"),
    "nested": (b"[" * 100_000, "nested too deeply"),
    "a number without end": (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
    "too long": (b" " * 1001, "has 1001 bytes; the limit of such a file is 1000"),
}


@pytest.mark.parametrize("name", BAD_TEXTS)
def test_what_is_no_json_is_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, words = BAD_TEXTS[name]
    if name == "too long":
        monkeypatch.setattr(files, "MAX_TEXT", 1000)
    (tmp_path / "t.json").write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        read_json(tmp_path / "t.json")
    assert caught.value.where == tmp_path / "t.json"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 99_000, "nested too deeply"),
        ("a: &a [1]\nb: *a", "aliases"),
        ("a: b: c", "not valid YAML"),
        ("a" * 100_001, "100001 bytes"),
    ],
)
def test_what_is_no_plain_yaml_is_refused_at_once(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text)
    with pytest.raises(DataError, match=words):
        read_yaml(file)


def test_yaml_may_be_nested_a_little(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("[" * 20 + "5" + "]" * 20 + "\n")
    assert str(read_yaml(file)).count("[") == 20
