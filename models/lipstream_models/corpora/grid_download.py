"""Fetch speakers of the GRID corpus from Zenodo: resumable, checked, ready for 'train prepare'.

An archive is half a gigabyte and connections break: pooch, which checks sums too, begins a broken
download anew, so the few lines that go on with one are our own.

The record (3625687; Cooke, Barker, Cunningham, Shao, CC BY 4.0) holds ``s1.zip`` to ``s34.zip``
(``s21`` has no film) with 1000 clips each, about half a gigabyte, and ``alignments.zip`` with the
word times of all. Sizes and MD5 sums come from the record itself, the archive's REST API:
``files[].key``, ``size``, ``checksum`` ("md5:...") and ``links.self``.
"""

import csv
import hashlib
import http.client
import json
import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from lipstream.errors import InputError

RECORD = "https://zenodo.org/api/records/3625687"
ALIGNMENTS = "alignments"
_UNITS_A_SECOND = 25_000
"""Units of the corpus' word times: 75000 is the end of a clip."""
_BLOCK = 1 << 18
_ATTEMPTS = 4
"""Connections that may break, one after another, before a download is given up."""
_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of the record."""

    name: str
    size: int
    """Bytes."""
    md5: str
    """32 hexadecimal digits."""
    url: str


@dataclass(frozen=True, slots=True)
class Fetched:
    """How far a file is."""

    name: str
    done: int
    """Bytes that are here."""
    size: int


def list_files(record: str = RECORD) -> dict[str, RemoteFile]:
    """Ask the record for its files, by name. Raises InputError."""
    try:
        with _open(record, 0) as answer:
            listing: dict[str, Any] = json.load(answer)
        files = [_remote(entry) for entry in listing["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{record} does not list files as the archive's API does ({error!r}): check --record"
        ) from error
    return {file.name: file for file in files}


def _remote(entry: dict[str, Any]) -> RemoteFile:
    kind, _, digest = str(entry["checksum"]).partition(":")
    if kind != "md5" or len(digest) != 32:
        raise ValueError(f"checksum {entry['checksum']}")
    name = str(entry["key"])
    return RemoteFile(name, int(entry["size"]), digest, str(entry["links"]["self"]))


def choose(files: dict[str, RemoteFile], speakers: Iterable[str]) -> list[RemoteFile]:
    """Return the word times and the speakers' films. Raises InputError for unknown speakers."""
    names = [ALIGNMENTS, *dict.fromkeys(speakers)]
    missing = [name for name in names if f"{name}.zip" not in files]
    if missing:
        there = [name.removesuffix(".zip") for name in files if name.endswith(".zip")]
        known = ", ".join(sorted(there, key=lambda name: (len(name), name)))
        raise InputError(f"the record has no film of {', '.join(missing)}; it has {known}")
    return [files[f"{name}.zip"] for name in names]


def fetch(file: RemoteFile, folder: Path) -> Iterator[Fetched]:
    """Download a file into a folder, going on where an earlier run stopped; yield how far it is.

    What is not whole yet is called ``NAME.part``. Raises InputError when the connection breaks too
    often or the sum is wrong; a wrong file is removed.
    """
    target, part = folder / file.name, folder / f"{file.name}.part"
    if target.exists() and target.stat().st_size == file.size:
        yield Fetched(file.name, file.size, file.size)
        return
    folder.mkdir(parents=True, exist_ok=True)
    _check_room(file, folder, part)
    failures = 0
    while (here := _size(part)) < file.size:
        try:
            yield from _read_on(file, part, here)
        except (OSError, http.client.HTTPException) as error:
            failures = failures + 1 if _size(part) == here else 1
            if failures == _ATTEMPTS:
                raise InputError(
                    f"{file.url} broke off at {_size(part)} of {file.size} bytes ({error}):"
                    " run the same command again to go on"
                ) from error
    if _md5(part) != file.md5:
        part.unlink()
        raise InputError(
            f"{file.name} did not arrive as the archive has it (MD5 differs from {file.md5}):"
            " it was removed; run the same command again"
        )
    os.replace(part, target)  # noqa: PTH105


def _read_on(file: RemoteFile, part: Path, here: int) -> Iterator[Fetched]:
    with _open(file.url, here) as answer:
        resumed = answer.status == http.client.PARTIAL_CONTENT
        done = here if resumed else 0
        with part.open("ab" if resumed else "wb") as opened:
            while block := answer.read(_BLOCK):
                opened.write(block)
                done += len(block)
                yield Fetched(file.name, done, file.size)
    if done < file.size:
        raise ConnectionError(f"{file.size - done} bytes are missing")
    if done > file.size:
        part.unlink()
        raise InputError(f"{file.url} sends more than the {file.size} bytes the record names")


def _open(url: str, start: int) -> Any:
    headers = {"Range": f"bytes={start}-"} if start else {}
    try:
        return urlopen(Request(url, headers=headers), timeout=_PATIENCE_S)
    except HTTPError as error:
        raise InputError(
            f"{url} answered {error.code} {error.reason}: check the address, or try later"
        ) from error
    except (URLError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(f"{url} cannot be reached ({reason}): is there a network?") from error


def _check_room(file: RemoteFile, folder: Path, part: Path) -> None:
    """Refuse a download that has no room: the archive, and its clips beside it."""
    needed, free = 2 * file.size - _size(part), shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{file.name} needs {needed >> 20} MB in {folder}, {free >> 20} are free: choose"
            " another --out or fewer speakers"
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _md5(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "md5").hexdigest()


def unpack_speaker(archive: Path, folder: Path) -> int:
    """Unpack the clips of a speaker's archive, whole or not at all; return how many there are.

    Only names ending in ``.mpg`` are taken, and of them the last part. Raises InputError.
    """
    unfinished = folder.with_name(folder.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    with _archive(archive) as opened:
        clips = [entry for entry in opened.infolist() if _is_clip(entry.filename)]
        if not clips:
            raise InputError(f"{archive} holds no .mpg clips: remove it and download it again")
        for entry in clips:
            with (
                opened.open(entry) as packed,
                (unfinished / PurePosixPath(entry.filename).name).open("wb") as clip,
            ):
                shutil.copyfileobj(packed, clip)
    os.replace(unfinished, folder)  # noqa: PTH105
    return len(clips)


def _is_clip(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix == ".mpg" and not name.startswith("__") and not path.name.startswith(".")


def write_alignments(archive: Path, speaker: str, table: Path) -> int:
    """Write one speaker's word times as the table 'train prepare --alignments' reads.

    Columns clip, start_s, end_s, word, parted by tabs. Returns the number of clips. Raises
    InputError.
    """
    lines, clips = [], 0
    with _archive(archive) as opened:
        for name in sorted(opened.namelist()):
            path = PurePosixPath(name)
            if path.suffix != ".align" or path.parent.name != speaker or name.startswith("__"):
                continue
            clips += 1
            for line in opened.read(name).decode("ascii").splitlines():
                start, end, word = line.split()
                seconds = [int(units) / _UNITS_A_SECOND for units in (start, end)]
                lines.append((path.stem, *(f"{value:.3f}" for value in seconds), word))
    if not clips:
        raise InputError(f"{archive} holds no word times of {speaker}: name another speaker")
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.open("w", encoding="utf-8", newline="") as opened_table:
        writer = csv.writer(opened_table, delimiter="\t", lineterminator="\n")
        writer.writerows([("clip", "start_s", "end_s", "word"), *lines])
    return clips


def _archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is no archive ({error}): remove it, download again") from error
