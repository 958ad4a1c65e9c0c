"""Text files, packed or not: whether they are UTF-8, and what they most likely are if not."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from headstart.errors import DataError

BLOCK = 1 << 20
SAMPLE = 1 << 16
PACKED = 4
"""How many times smaller gzip makes texts, about."""

SIGNATURES = {
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"\x1f\x8b": "compressed with gzip",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"PAR1": "a parquet file",
    b"%PDF": "a PDF",
}
"""How files begin that are no text, whatever they are called."""

MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte-order marks, the longer ones first."""

SCRIPTS = (
    ("shift_jis", "[\u3040-\u30ff]", 0.2),
    ("euc-kr", "[\uac00-\ud7a3]", 0.9),
    ("gb18030", "[\u4e00-\u9fff\u3000-\u303f\uff00-\uffef]", 0.8),
    ("cp1251", "[\u0400-\u04ff]", 0.8),
)
"""Encodings with the characters they are recognised by, and their least share of all non-ASCII."""


def check_text(path: Path) -> None:
    """Check that a file is UTF-8 text.

    Raises:
        DataError: it is empty, no text at all, holds NUL bytes, or is not UTF-8; names the byte
            (counted from 0) and the line (from 1).
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset = lines = pending = 0
    try:
        for block in _blocks(path):
            if not offset:
                _check_beginning(path, block)
            zero = block.find(b"\0")
            if zero >= 0:
                raise DataError(_nul(path, offset + zero, lines + block[:zero].count(b"\n") + 1))
            pending = len(decoder.getstate()[0])
            decoder.decode(block)
            offset, lines = offset + len(block), lines + block.count(b"\n")
        pending = len(decoder.getstate()[0])
        decoder.decode(b"", final=True)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        reason = str(error).rstrip(".")
        raise DataError(f"{path}: cannot be unpacked: {reason}. Fetch it again.") from None
    except UnicodeDecodeError as error:
        at = offset - pending + error.start
        line = lines + error.object[: error.start].count(b"\n") + 1
        raise DataError(_wrong(path, at, line, _guess(path, at))) from None
    if not offset:
        raise DataError(f"{path}: is empty.")


def ending(path: Path) -> str:
    """The ending that tells what a file holds: ".csv" of shop.CSV, and of shop.csv.gz."""
    packed = path.suffix.lower() == ".gz"
    return (Path(path.stem) if packed else path).suffix.lower() or path.suffix.lower()


def unpacked_bytes(path: Path) -> int:
    """Bytes of a file once unpacked; of a packed one a guess, as nothing in it tells."""
    return path.stat().st_size * (PACKED if path.suffix.lower() == ".gz" else 1)


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file to read its bytes, unpacked if its name ends in .gz."""
    if path.suffix.lower() == ".gz":
        return cast("IO[bytes]", gzip.open(path, "rb"))
    return path.open("rb")


def open_text(path: Path, newline: str | None = None) -> IO[str]:
    """Open a UTF-8 file to read its text, without a byte-order mark.

    Args:
        newline: as in `open`: "" leaves line ends as they are.
    """
    return io.TextIOWrapper(open_bytes(path), encoding="utf-8-sig", newline=newline)


def _blocks(path: Path) -> Iterator[bytes]:
    with open_bytes(path) as file:
        while block := file.read(BLOCK):
            yield block


def _check_beginning(path: Path, block: bytes) -> None:
    for signature, what in SIGNATURES.items():
        if block.startswith(signature):
            raise DataError(
                f"{path}: is {what}, not a text file. Unpack or export it, or name it after what "
                "it is, such as shop.csv.gz or shop.parquet."
            )
    for mark, encoding in MARKS.items():
        if block.startswith(mark):
            raise DataError(_wrong(path, 0, 1, encoding))
    start = block[:SAMPLE]
    for encoding, first in (("utf-16-le", 1), ("utf-16-be", 0)):
        # Latin text in UTF-16 has every other byte 0, here without a byte-order mark.
        zeros, others = start[first::2].count(0), start[1 - first :: 2].count(0)
        if not others and zeros > len(start) / 4:
            raise DataError(_wrong(path, first, 1, encoding))


def _nul(path: Path, offset: int, line: int) -> str:
    return (
        f"{path}, line {line:,}: holds a NUL byte (byte {offset:,}), so it is no text file, or a "
        f"damaged one. Remove them: tr -d '\\000' < {path.name} > clean-{path.name}"
    )


def _wrong(path: Path, offset: int, line: int, guess: str) -> str:
    return (
        f"{path}, line {line:,}: is not UTF-8 (byte {offset:,}); it looks like {guess}. Convert "
        f"it: iconv -f {guess} -t utf-8 {path.name} > utf8-{path.name}"
    )


def _guess(path: Path, offset: int) -> str:
    """The likeliest encoding of a file whose byte at `offset` is not UTF-8.

    Where non-ASCII bytes are many, the text is not in Latin script, and is tried as others. latin-1
    can hold any bytes, cp1252 all but five.
    """
    with open_bytes(path) as file:
        file.seek(max(0, offset - SAMPLE))
        before = file.read(min(offset, SAMPLE))
        sample = before[before.rfind(b"\n") + 1 :] + file.read(SAMPLE)
    letters = len(re.findall(rb"[A-Za-z]", sample))
    if len(re.findall(rb"[\x80-\xff]", sample)) > letters:
        for encoding, pattern, least in SCRIPTS:
            try:
                text = codecs.getincrementaldecoder(encoding)().decode(sample)
            except UnicodeDecodeError:
                continue
            if len(re.findall(pattern, text)) >= least * len(re.findall(r"[^\x00-\x7f]", text)):
                return encoding
    try:
        for block in _blocks(path):
            block.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252"
