"""Archives of a public data set: damaged, hostile, or far larger than they look."""

import hashlib
import io
import os
import random
import stat
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

from toy_public import BYTES
from trials import Call

from ssltut.io import public
from ssltut.io.public import EXAMPLE, PublicFile

NAMES = [
    "a/ct.nii.gz",
    "../evil",
    "/tmp/ssltut-evil",
    "a/../../evil",
    "",
    ".",
    "..",
    "a//b",
    "a\\b",
]
NAMES += [
    "C:\\evil",
    "x" * 300,
    "a\0b",
    "\x1b[2J",
    "<img src=x onerror=alert(1)>",
    "a\nb",
    "ü",
    "a",
]
NAMES += ["a/" * 300 + "b", "con", "~/evil", "$HOME/evil", "\u202efdp", "a/ct.nii.gz"]
LINKS = ["../../..", "/etc/passwd", "a", "loop", ".", "/dev/zero"]
METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


def archive(made: Path, rng: random.Random) -> tuple[str, list[Call]]:
    """One archive that a mirror holds; fetch it, then see whether anything left its folder."""
    kind = rng.choice(["zip", "tar.gz", "tar.xz", "tar.bz2"])
    names = rng.choices(NAMES, k=rng.choice([1, 2, 5]))
    data, what = (zipped if kind == "zip" else tarred)(kind, names, rng)
    if rng.random() < 0.4:
        change, block = rng.choice(["cut", "changed"]), bytearray(data)
        what += f", {change}"
        if change == "cut":
            del block[rng.randrange(len(block)) :]
        for _ in range(rng.choice([1, 10]) if change == "changed" else 0):
            block[rng.randrange(len(block))] = rng.randrange(256)
        data = bytes(block)
    mirror = made / "mirror"
    mirror.mkdir()
    name = f"data.{'zip' if kind == 'zip' else 'tar.gz'}"
    (mirror / name).write_bytes(data)
    checksum = f"md5:{hashlib.md5(data).hexdigest()}"
    file = PublicFile(name, "https://example.org/d", checksum, len(data), archive=True)

    def fetch() -> None:
        kept = public.SETS
        public.SETS = {EXAMPLE: replace(kept[EXAMPLE], files=(file,))}
        try:
            public.fetch_set(EXAMPLE, made / "set", mirror)
        finally:
            public.SETS = kept

    return f"{kind} {what}", [fetch, lambda: _all_inside(made)]


def _all_inside(made: Path) -> None:
    """Raises AssertionError for what lies beside the folders, and for what is no file in them."""
    outside = {path.name for path in [*made.iterdir(), *made.parent.iterdir()]}
    assert outside <= {"mirror", "set", "in"}, f"outside of the folder: {outside}"
    assert not Path("/tmp/ssltut-evil").exists()
    total = 0
    for folder, _, files in os.walk(made / "set"):
        for name in files:
            status = os.lstat(os.path.join(folder, name))
            assert stat.S_ISREG(status.st_mode), f"{name!r} is no file"
            assert not status.st_mode & (stat.S_ISUID | stat.S_ISGID), f"{name!r} sets a user"
            total += status.st_size
    assert total < 1 << 30, f"{total / 2**20:.0f} MiB were written out"


def zipped(kind: str, names: list[str], rng: random.Random) -> tuple[bytes, str]:
    """A zip with these names; perhaps encrypted, a link, of an unknown method, or a bomb."""
    out, what = io.BytesIO(), rng.choice(["names", "names", "link", "encrypted", "method", "bomb"])
    with zipfile.ZipFile(out, "w", rng.choice(METHODS)) as packed:
        for name in names:
            info = zipfile.ZipInfo("a")
            info.filename, info.compress_type = name, packed.compression
            content = BYTES
            if what == "link":
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
                content = rng.choice(LINKS).encode()
            packed.writestr(info, content)
        if what == "bomb":
            packed.writestr("zeros", bytes(200 << 20), zipfile.ZIP_DEFLATED)
    data = bytearray(out.getvalue())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(mark)
        if what == "encrypted":
            data[at + offset] |= 1
        elif what == "method":
            data[at + offset + 2] = 99
    return bytes(data), f"{what} {names!r}"


def tarred(kind: str, names: list[str], rng: random.Random) -> tuple[bytes, str]:
    """A tar with these names; perhaps with a link, a device, a FIFO, set-uid, or a bomb."""
    types = [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
    out, what = io.BytesIO(), rng.choice(["names", "names", "types", "mode", "many", "bomb"])
    with tarfile.open(fileobj=out, mode=f"w:{kind.rpartition('.')[2]}") as packed:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(BYTES), 0o4777 if what == "mode" else 0o644
            if what == "types":
                info.type, info.linkname = rng.choice(types), rng.choice(LINKS)
                info.size = len(BYTES) if info.type == tarfile.REGTYPE else 0
            packed.addfile(info, io.BytesIO(BYTES))
        if what == "bomb":
            info = tarfile.TarInfo("zeros")
            info.size = 200 << 20
            packed.addfile(info, io.BytesIO(bytes(info.size)))
        for i in range(3000 if what == "many" else 0):
            packed.addfile(tarfile.TarInfo(f"many/{i}"))
    return out.getvalue(), f"{what} {names!r}"
