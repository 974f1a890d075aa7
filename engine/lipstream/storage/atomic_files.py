"""Files that are there whole or not at all, and their checksums."""

import contextlib
import hashlib
import os
import threading
from collections.abc import Generator
from pathlib import Path


@contextlib.contextmanager
def written_whole(path: Path, writer: str = "") -> Generator[Path]:
    """Yield a place to write to, which gets the name ``path`` when the block ends well.

    It lies in the same folder, hidden, and has the same suffix. Whatever goes wrong, nothing is
    left of it, and an older file of that name is not touched. Several may write the same path at
    once if each gives a name of its own as ``writer``: the last one stays. Raises OSError.
    """
    unfinished = path.with_name(f".{path.name}{writer}.part{path.suffix}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        with contextlib.suppress(OSError):  # it has its name, or it never was
            unfinished.unlink()


def unique_writer() -> str:
    """Return a name for ``written_whole`` that no other thread or program uses."""
    return f".{os.getpid()}.{threading.get_ident()}"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits. Raises OSError."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def user_cache() -> Path:
    """Return the folder of what can be made again; any of it may be deleted at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lipstream"
