"""Image files: which cannot be read, which are too small, which are there twice.

Two images are the same to the eye if the 64 bits of their perceptual hashes differ in at most
`NEAR`: the signs of the lowest frequencies of the cosine transform of a 32 x 32 grey image, against
their median (Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions",
section 3.2). What is resized, recompressed or a little brighter keeps its hash. Pairs are found by
cutting the hash into four words, one of which must be equal where at most three bits differ, and
are then compared pixel by pixel, as drawings on white have hashes that are near each other.

Shapes: N images.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from PIL import Image

from headstart.data.encoding import ending, open_text
from headstart.data.findings import Finding, Severity, counted
from headstart.data.image import Preprocessing, read_images
from headstart.data.table import TABLE_ENDINGS, Table, read
from headstart.doctor.checkup import Checkup, Described
from headstart.doctor.examine import worst_first
from headstart.doctor.subject import TEST, share_of
from headstart.errors import DataError, UserError

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
SPLITS = ("train", "test", "val", "valid", "validation")
COLUMNS = ("image", "file", "path", "filename", "file_name", "image_path", "img")
"""What a column of image files is called."""

LABELS = ("label", "class", "category", "target", "y", "labels")

BEGINNING = 2_000
"""Characters of a table that its columns are looked for in."""

GREY = 32
LOW = 8
NEAR = 3
"""Bits of 64 in which the hashes of one image may differ."""

ALIKE = 12.0
"""Mean difference of two grey images, of 255, up to which they are one."""

SMALL = 32
"""Pixels of a shorter edge below which little can be seen."""

PLAIN = Preprocessing(size=None, resample=0, crop=None, factor=None, mean=None, std=None, rgb=True)
"""Nothing but the pixels."""


@dataclass(frozen=True)
class Pictures:
    """The image files of a data set.

    Attributes:
        key: "source", "target" or "test".
        name: where they are.
        files: N files, in order.
        shown: what the user calls each.
        labels: of each; None where none are known.
    """

    key: str
    name: str
    files: list[Path]
    shown: list[str]
    labels: list[str] | None


@dataclass(frozen=True)
class Look:
    """What the N images of a data set look like.

    Attributes:
        sizes: (N, 2) width and height in pixels; 0 where unreadable.
        modes: Pillow's name of the channels, "" where unreadable.
        hashes: (N,) uint64.
        grey: (N, 32, 32) uint8.
        faults: why a file cannot be read, by its place.
    """

    sizes: np.ndarray
    modes: list[str]
    hashes: np.ndarray
    grey: np.ndarray
    faults: dict[int, str]

    @property
    def readable(self) -> np.ndarray:
        """(N,) bool."""
        return np.array([bool(mode) for mode in self.modes], dtype=bool)


def holds_images(given: Any) -> bool:
    """Whether a path is a folder of images, an image table, or neither."""
    if not isinstance(given, (str, Path)):
        return False
    path = Path(given).expanduser()
    if path.is_dir():
        return next(_images_below(path), None) is not None
    if not path.is_file() or ending(path) not in TABLE_ENDINGS:
        return False
    try:
        return _may_name_images(path) and _column(read(path)) is not None
    except (UserError, UnicodeDecodeError, OSError, pyarrow.ArrowException):
        return False  # whoever reads it as texts says what is wrong


def _may_name_images(path: Path) -> bool:
    """Whether the beginning of a table names such a column, so that few are read for nothing."""
    if ending(path) == ".parquet":
        begins = " ".join(pyarrow.parquet.read_schema(path).names)
    else:
        with open_text(path) as file:
            begins = file.read(BEGINNING)
    return any(re.search(rf"\b{name}\b", begins, re.IGNORECASE) for name in COLUMNS)


def check_images(given: Mapping[str, Any]) -> Checkup:
    """Look at data sets of images.

    Raises:
        DataError: some hold images and others do not, or a folder holds none.
    """
    texts = [f"{key}: {value}" for key, value in given.items() if not holds_images(value)]
    if texts:
        raise DataError(
            f"check: the other data holds images, but {'; '.join(texts)} does not. Give images of "
            "the same kind, or texts alone."
        )
    found = [find_pictures(key, Path(value).expanduser()) for key, value in given.items()]
    looks = [look_at(pictures) for pictures in found]
    findings: list[Finding] = []
    for pictures, look in zip(found, looks, strict=True):
        findings += _unreadable(pictures, look) + _channels(pictures, look)
        findings += _sizes(pictures, look) + _uneven(pictures)
    findings += repeated_images(found, looks)
    sets = tuple(_described(p, look) for p, look in zip(found, looks, strict=True))
    return Checkup(sets, tuple(worst_first(findings)))


def find_pictures(key: str, path: Path) -> Pictures:
    """The images of a folder (by its folders of classes), or of a table's column of files."""
    if path.is_dir():
        base = next((path / s for s in SPLITS[:1] if (path / s).is_dir() and key != TEST), path)
        base = path / "test" if key == TEST and (path / "test").is_dir() else base
        files = sorted(_images_below(base))
        shown = [str(file.relative_to(path)) for file in files]
        parts = [file.relative_to(base).parts for file in files]
        inside = all(len(part) > 1 for part in parts)
        return Pictures(key, str(path), files, shown, [p[0] for p in parts] if inside else None)
    table = read(path)
    column = _column(table)
    assert column is not None, "it was looked for"
    names = [str(name) for name in table.columns[column].to_pylist()]
    shown = [f"{table.unit} {table.number(row):,} ({name})" for row, name in enumerate(names)]
    known = [n for n in table.columns.column_names if n.strip().lower() in LABELS]
    labels = [str(v) for v in table.columns[known[0]].to_pylist()] if len(known) == 1 else None
    return Pictures(key, str(path), [path.parent / name for name in names], shown, labels)


def _images_below(path: Path) -> Any:
    return (f for f in path.rglob("*") if f.suffix.lower() in ENDINGS and f.is_file())


def _column(table: Table) -> str | None:
    """The column of a table that holds names of image files."""
    for name in table.columns.column_names:
        if name.strip().lower() in COLUMNS:
            some = [str(v).lower() for v in table.columns[name].slice(0, 20).to_pylist() if v]
            if some and all(value.endswith(ENDINGS) for value in some):
                return name
    return None


def look_at(pictures: Pictures) -> Look:
    """Open every image once."""
    count = len(pictures.files)
    sizes, modes = np.zeros((count, 2), dtype=np.int64), [""] * count
    hashes = np.zeros(count, dtype=np.uint64)
    grey = np.zeros((count, GREY, GREY), dtype=np.uint8)
    faults: dict[int, str] = {}
    for place, file in enumerate(pictures.files):
        try:
            pixels = read_images([file], PLAIN)[0].numpy()
        except DataError as error:
            faults[place] = str(error).removeprefix(f"{file}: ")
            continue
        with Image.open(file) as image:
            sizes[place], modes[place] = image.size, image.mode
        whole = Image.fromarray(np.moveaxis(pixels, 0, -1).astype(np.uint8)).convert("L")
        small = whole.resize((GREY, GREY), Image.Resampling.LANCZOS)
        grey[place] = np.asarray(small)
        hashes[place] = perceptual_hash(grey[place])
    return Look(sizes, modes, hashes, grey, faults)


def perceptual_hash(grey: np.ndarray) -> int:
    """64 bits of a (32, 32) grey image: which low frequencies are above their median."""
    from scipy.fft import dctn

    low = dctn(grey.astype(np.float64))[:LOW, :LOW]
    bits = (low > np.median(low)).ravel()
    return int("".join("1" if bit else "0" for bit in bits), 2)


def near_images(hashes: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """(K, 2) pairs of images that are the same to the eye, the smaller place first.

    Args:
        hashes: (N,) uint64.
        grey: (N, 32, 32) uint8.
    """
    words = hashes.astype("<u8").view("<u2").reshape(-1, 4)
    pairs: set[tuple[int, int]] = set()
    for column in words.T:
        order = np.argsort(column, kind="stable")
        key = column[order]
        for step in range(1, len(key)):
            same = np.flatnonzero(key[step:] == key[:-step])
            if not len(same) or step > BUCKET:
                break
            one, other = order[same], order[same + step]
            apart = np.bitwise_count(hashes[one] ^ hashes[other]) <= NEAR
            for a, b in zip(one[apart].tolist(), other[apart].tolist(), strict=True):
                pairs.add((a, b))
    alike = [
        pair for pair in sorted(pairs)
        if np.abs(grey[pair[0]].astype(int) - grey[pair[1]]).mean() <= ALIKE
    ]  # fmt: skip
    return np.array(alike, dtype=np.int64).reshape(-1, 2)


BUCKET = 200
"""Images behind an image, of those that share a word of the hash, that it is compared with."""


def repeated_images(found: list[Pictures], looks: list[Look]) -> list[Finding]:
    """Images that are there twice: inside a data set, and in two of them."""
    subject = np.repeat(np.arange(len(found)), [len(p.files) for p in found])
    place = np.concatenate([np.arange(len(p.files)) for p in found])
    readable = np.concatenate([look.readable for look in looks])
    subject, place = subject[readable], place[readable]
    hashes = np.concatenate([look.hashes for look in looks])[readable]
    grey = np.concatenate([look.grey for look in looks])[readable]
    pairs = near_images(hashes, grey)
    findings = []
    for first in range(len(found)):
        for second in range(first, len(found)):
            sides = subject[pairs]
            here = pairs[(sides[:, 0] == first) & (sides[:, 1] == second)]
            if len(here):
                findings.append(_repeated(found[first], found[second], place[here]))
    return findings


def _repeated(first: Pictures, second: Pictures, pairs: np.ndarray) -> Finding:
    """Pairs of images (K, 2), by their places in the two data sets."""
    inside = first is second
    rows = np.unique(pairs[:, 1] if inside else pairs[:, 0])
    partner: dict[int, int] = {}
    for one, other in pairs.tolist():
        partner.setdefault(other if inside else one, one if inside else other)
    details, clash = [], 0
    for row in rows.tolist():
        other = partner[row]
        labels = ""
        if first.labels and second.labels and first.labels[row] != second.labels[other]:
            labels = f" ({first.labels[row]!r} here, {second.labels[other]!r} there)"
            clash += 1
        where = "" if inside else f"{second.key} "
        details.append(f"{first.shown[row]} like {where}{second.shown[other]}{labels}")
    leak = second.key == TEST and not inside
    other_labels = f"; {clash:,} of them bear another label there" if clash else ""
    severity: Severity = "harmful" if leak else "warning" if clash else "note"
    there = "an earlier one" if inside else f"one of {second.key}, {second.name}"
    return Finding(
        kind="repeated images" if inside else f"images of {second.key}",
        message=f"{first.name}: {share_of(len(rows), len(first.files))} images are to the eye the "
        f"same as {there}{other_labels}.",
        count=len(rows), rows=tuple(rows.tolist()), details=tuple(details), data=first.key,
        severity=severity,
        remedy="Take them out of the training images: the test would be known by heart."
        if leak else "Keep one of each.",
    )  # fmt: skip


def _unreadable(pictures: Pictures, look: Look) -> list[Finding]:
    if not look.faults:
        return []
    return [Finding(
        kind="unreadable images",
        message=f"{pictures.name}: {share_of(len(look.faults), len(pictures.files))} files cannot "
        "be read.",
        count=len(look.faults), rows=tuple(look.faults), data=pictures.key, severity="harmful",
        details=tuple(f"{pictures.shown[p]} {fault}" for p, fault in look.faults.items()),
        remedy="Copy or download them again, or leave them out.",
    )]  # fmt: skip


def _channels(pictures: Pictures, look: Look) -> list[Finding]:
    counts = Counter(mode for mode in look.modes if mode)
    if len(counts) < 2:
        return []
    most = counts.most_common(1)[0][0]
    odd = [place for place, mode in enumerate(look.modes) if mode not in ("", most)]
    shown = ", ".join(f"{mode} ({count:,})" for mode, count in counts.most_common())
    return [Finding(
        kind="mixed channels",
        message=f"{pictures.name}: its images have different channels: {shown}.",
        count=len(odd), rows=tuple(odd), data=pictures.key, severity="note",
        details=tuple(f"{pictures.shown[p]} is {look.modes[p]}" for p in odd),
        remedy="Nothing to do: all are made RGB. If only one class is grey, a model learns that "
        "instead.",
    )]  # fmt: skip


def _sizes(pictures: Pictures, look: Look) -> list[Finding]:
    readable = np.flatnonzero(look.readable)
    small = readable[look.sizes[readable].min(1) < SMALL] if len(readable) else readable
    if not len(small):
        return []
    return [Finding(
        kind="small images",
        message=f"{pictures.name}: {share_of(len(small), len(pictures.files))} images have fewer "
        f"than {SMALL} pixels on their shorter edge.",
        count=len(small), rows=tuple(small.tolist()), data=pictures.key, severity="note",
        details=tuple("{} is {} x {}".format(pictures.shown[p], *look.sizes[p])
                      for p in small.tolist()),
        remedy="Take larger ones where there are any: a backbone reads 224 x 224.",
    )]  # fmt: skip


def _uneven(pictures: Pictures) -> list[Finding]:
    counts = Counter(pictures.labels or ()).most_common()
    if len(counts) < 2 or counts[0][1] < 3 * counts[-1][1]:
        return []
    (most, many), (least, few) = counts[0], counts[-1]
    return [Finding(
        kind="uneven classes",
        message=f"{pictures.name}: {most!r} has {counted(many, 'image')}, {least!r} {few:,}.",
        count=len(pictures.files), data=pictures.key,
        severity="warning" if many >= 10 * few else "note",
        remedy="Judge by macro-F1 rather than accuracy.",
    )]  # fmt: skip


def _described(pictures: Pictures, look: Look) -> Described:
    sizes = look.sizes[look.readable]
    shown = "no image that can be read"
    if len(sizes):
        (w, h), (wide, high) = sizes.min(0).tolist(), sizes.max(0).tolist()
        channels = ", ".join(sorted({mode for mode in look.modes if mode}))
        shown = f"{w} x {h} to {wide} x {high} pixels, {channels}"
    return Described(pictures.key, pictures.name, len(pictures.files),
                     dict(sorted(Counter(pictures.labels or ()).items())), 0.0, shown)  # fmt: skip
