"""The studio's folder: who may work in it, and things in it that appear and vanish whole.

``media/ID/`` holds a file taken in and ``media.json``; ``jobs/ID/`` a film, what it is made of and
``job.json``. Each is made under a name that begins with a dot, then renamed; on deletion it gets
such a name first. So whatever has no dot is whole, and the rest is thrown away at the next start.
"""

import fcntl
import json
import logging
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lipstream.storage.atomic_files import written_whole
from lipstream_server.studio.errors import StudioBusy, disk_full, full_disk

log = logging.getLogger(__name__)

_UNFINISHED = ".unfinished-"


class Folder:
    """The folder of one studio. Opened when something is there or is to be kept, then locked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def exists(self) -> bool:
        """Return whether anything was ever kept here."""
        return self.path.is_dir()

    def open(self) -> None:
        """Make the folder ours and clear what was left unfinished; twice is fine.

        Raises StudioBusy when another server works in it or it cannot be written.
        """
        if self._lock is not None:
            return
        try:
            for name in ("media", "jobs", "avatars"):
                (self.path / name).mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if disk_full(error):
                raise full_disk() from error
            raise StudioBusy(f"the studio cannot write to its folder: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise StudioBusy(
                "the studio's folder is used by another lipstream server: stop that one, or give"
                " this one a folder of its own"
            ) from error
        self._lock = lock
        for unfinished in self.path.glob(f"*/{_UNFINISHED}*"):
            shutil.rmtree(unfinished, ignore_errors=True)

    def close(self) -> None:
        """Let others have the folder; twice is fine."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def entries(self, kind: str) -> Iterator[tuple[Path, Mapping[str, Any]]]:
        """Yield what is kept of a kind, ``media`` or ``jobs``: its folder and its JSON."""
        note = "job.json" if kind == "jobs" else "media.json"
        for place in sorted((self.path / kind).glob("[0-9a-f]*")):
            try:
                written = json.loads((place / note).read_text("utf-8"))
            except (OSError, ValueError) as error:
                log.warning("studio: %s in %s cannot be read: %s", note, place.name, error)
                continue
            if isinstance(written, dict):
                yield place, written

    @contextmanager
    def new(self, kind: str) -> Iterator["New"]:
        """Give a folder to fill and a name for it; it vanishes unless ``New.keep`` was called.

        Raises DiskFull when the disk fills up meanwhile.
        """
        self.open()
        name = secrets.token_hex(16)
        place = self.path / kind / (_UNFINISHED + name)
        try:
            place.mkdir()
            yield New(name, place, self.path / kind / name)
        except OSError as error:
            if disk_full(error):
                raise full_disk() from error
            raise
        finally:
            shutil.rmtree(place, ignore_errors=True)


class New:
    """Something that is not there yet."""

    def __init__(self, name: str, place: Path, final: Path) -> None:
        self.id, self.place, self._final = name, place, final

    def keep(self) -> Path:
        """Let it appear under its name; returns its folder."""
        self.place.rename(self._final)
        return self._final


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file so that it is there whole or not at all. Raises DiskFull."""
    text = json.dumps(content, ensure_ascii=False, indent=1)
    try:
        with written_whole(path) as unfinished:
            unfinished.write_text(text, "utf-8")
    except OSError as error:
        if disk_full(error):
            raise full_disk() from error
        raise


def remove(place: Path) -> None:
    """Take something away at once, and its bytes as fast as the disk allows."""
    hidden = place.with_name(_UNFINISHED + place.name)
    try:
        place.rename(hidden)
    except FileNotFoundError:
        return
    shutil.rmtree(hidden, ignore_errors=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name; where the file system cannot, copy it. Raises OSError."""
    try:
        target.hardlink_to(source)
    except OSError as error:
        if disk_full(error):
            raise
        shutil.copy2(source, target)
