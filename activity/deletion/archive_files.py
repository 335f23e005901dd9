"""Reads and writes archive files.

An archive is a gzipped JSON Lines file in the `archives` storage, with one line per event, in the order of
their ids. A manifest next to it, `<name>.manifest.json`, contains the number of events, the first and last
event ids, and the SHA-256 hash of the file.

The storage isn't trusted, because people and programs other than this application may be able to write to it.
A file is read only if it has the expected hash, and reading any file takes a bounded amount of memory.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import math
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import PurePosixPath
from tempfile import TemporaryFile
from typing import IO, Any, NoReturn
from uuid import UUID

import orjson
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.core.serializers.json import DjangoJSONEncoder

from activity.config import archive_storage

MAX_NAME = 255
MAX_EVENTS = 20_000
"""The maximum number of events in an archive. At a few hundred bytes each, they use several MB of memory."""
MAX_LINE = 1 << 20
"""The maximum length of a line in bytes. The largest event that can be recorded takes about 250 kB."""
MAX_SIZE = 64 << 20
"""The size in bytes, before compression, at which an archive is full although it has fewer events."""
MAX_BATCH_SIZE = 1 << 20
MAX_BATCH_EVENTS = 1000
MAX_MANIFEST_SIZE = 64 << 10
CHUNK_SIZE = 1 << 16
GZIP = 16
"""Tells zlib to expect the header of a gzip file."""
COMPRESSION_LEVEL = 2
"""Level 6 would take twice as long, and the files would be only an eighth smaller."""

Row = dict[str, Any]


class ArchiveError(Exception):
    """An archive can't be used. The message says why."""


class DamagedArchive(ArchiveError):
    """The file isn't the archive that was written, or isn't an archive at all."""


def canonical_name(name: str) -> str:
    """Return the only spelling of a file's name in the archive storage, or raise ArchiveError."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in name or not name.isprintable():
        raise ArchiveError("An archive's name is its path within the archive storage, without “..”.")
    if len(name) > MAX_NAME:
        raise ArchiveError(f"An archive's name has at most {MAX_NAME} characters.")
    return str(path)


def manifest_name(name: str) -> str:
    return f"{name}.manifest.json"


# --- Writing ------------------------------------------------------------------------------------


def compress(rows: Iterable[Row]) -> tuple[list[UUID], bytes]:
    """Return the content of an archive with the first of the rows, as many as fit, and their ids."""
    ids: list[UUID] = []
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=COMPRESSION_LEVEL, mtime=0) as file,
        io.BufferedWriter(file, CHUNK_SIZE) as lines,
    ):
        size = 0
        for row in rows:
            ids.append(row["id"] if isinstance(row["id"], UUID) else UUID(row["id"]))
            size += lines.write(_line(row))
            if size >= MAX_SIZE or len(ids) == MAX_EVENTS:
                break
    return ids, buffer.getvalue()


def _line(row: Row) -> bytes:
    """Return a row as a line of JSON. Bytes in a row are JSON already.

    orjson takes a tenth of the standard library's time, but refuses numbers of more than 64 bits, and lone
    surrogates, which UTF-8 can't encode.
    """
    try:
        return orjson.dumps(row, default=orjson.Fragment, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        return RowEncoder().encode(row).encode("ascii") + b"\n"


def save(manifest: dict[str, Any], content: bytes) -> None:
    """Save an archive and its manifest durably, and read both back. Raises OSError if any step fails."""
    _save_file(manifest["name"], content)
    _save_file(manifest_name(manifest["name"]), json.dumps(manifest, indent=1).encode())


def exists(name: str) -> bool:
    return archive_storage().exists(name) or archive_storage().exists(manifest_name(name))


def delete(name: str) -> None:
    """Delete an archive and its manifest, if they exist."""
    for file in (name, manifest_name(name)):
        archive_storage().delete(file)


class RowEncoder(DjangoJSONEncoder):
    """Encodes times to the microsecond, which Django's encoder truncates, and bytes that are JSON already."""

    def default(self, o: Any) -> Any:
        if isinstance(o, bytes):
            return json.loads(o)
        return o.isoformat() if isinstance(o, datetime) else super().default(o)


def _save_file(name: str, content: bytes) -> None:
    if archive_storage().save(name, ContentFile(content)) != name:
        raise OSError(f"{name} already exists in the archive storage.")
    if isinstance(archive_storage(), FileSystemStorage):
        _fsync(archive_storage().path(name))
    with archive_storage().open(name) as file:
        if file.read() != content:
            raise OSError(f"{name} was not stored correctly: reading it back returned different content.")


def _fsync(path: str) -> None:
    """Make sure that a file and its directory entry survive a power failure."""
    for synced in (path, os.path.dirname(path)):
        descriptor = os.open(synced, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# --- Reading ------------------------------------------------------------------------------------


def verify(name: str, sha256: str) -> None:
    """Raise DamagedArchive unless the file has this SHA-256 hash, and OSError if it can't be read."""
    with _verified_copy(name, sha256):
        pass


def read(name: str, sha256: str) -> Iterator[list[Row]]:
    """Yield the rows of an archive in small batches, in order.

    Raises DamagedArchive unless the file has this SHA-256 hash and consists of rows, and OSError if the file
    can't be read. The values in the rows aren't checked.
    """
    with _verified_copy(name, sha256) as file:
        batch: list[Row] = []
        size = 0
        for number, line in enumerate(_lines(name, file), start=1):
            if number > MAX_EVENTS:
                raise DamagedArchive(f"{name} has more events than any archive.")
            batch.append(_parse(name, number, line))
            size += len(line)
            if size >= MAX_BATCH_SIZE or len(batch) == MAX_BATCH_EVENTS:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch


def read_manifest(name: str) -> str:
    """Return the SHA-256 hash of an archive according to its manifest."""
    with archive_storage().open(manifest_name(name)) as file:
        content = file.read(MAX_MANIFEST_SIZE)
    manifest = _parse(manifest_name(name), 1, content)
    sha256 = str(manifest.get("sha256"))
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise DamagedArchive(f"{manifest_name(name)} contains no SHA-256 hash.")
    return sha256


@contextmanager
def _verified_copy(name: str, sha256: str) -> Iterator[IO[bytes]]:
    """Open a temporary copy of a file that has this SHA-256 hash. The file itself could change any time."""
    # Devices and pipes have no size. Reading them might never end.
    if not 0 < archive_storage().size(name) <= MAX_SIZE:
        raise DamagedArchive(f"{name} is empty, or larger than any archive.")
    actual, size = hashlib.sha256(), 0
    with archive_storage().open(name) as file, TemporaryFile() as copy:
        while chunk := file.read(CHUNK_SIZE):
            size += len(chunk)
            if size > MAX_SIZE:
                raise DamagedArchive(f"{name} is larger than any archive.")
            actual.update(chunk)
            copy.write(chunk)
        if actual.hexdigest() != sha256:
            raise DamagedArchive(f"{name} is damaged or was replaced: its checksum is not the recorded one.")
        copy.seek(0)
        yield copy


def _lines(name: str, file: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines of a gzipped file.

    `gzip` would read the headers of hostile files byte by byte.
    """
    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | GZIP)
    rest, size = b"", 0
    while not stream.eof:
        compressed = stream.unconsumed_tail or file.read(CHUNK_SIZE)
        try:
            text = stream.decompress(compressed, CHUNK_SIZE)
        except zlib.error as error:
            raise DamagedArchive(f"{name} can't be decompressed: {error}") from error
        if not compressed and not text and not stream.eof:
            raise DamagedArchive(f"{name} is truncated.")
        *lines, rest = (rest + text).split(b"\n")
        size += len(text)
        if len(rest) > MAX_LINE or size > MAX_SIZE + MAX_LINE:
            raise DamagedArchive(f"{name} is larger than any archive, or has a longer line.")
        yield from lines
    if stream.unused_data or file.read(1):
        raise DamagedArchive(f"{name} has data after its end.")
    if rest:
        yield rest


def _parse(name: str, number: int, line: bytes) -> Row:
    try:
        row = json.loads(line, parse_constant=_reject, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise DamagedArchive(f"{name}, line {number} can't be parsed: {error}") from error
    if not isinstance(row, dict):
        raise DamagedArchive(f"{name}, line {number} is not an object.")
    return row


def _reject(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not valid in JSON")


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError("A number is too large.")
    return number
