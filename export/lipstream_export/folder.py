"""Write a whole folder, or nothing."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lipstream.errors import InputError


@contextmanager
def folder_written_whole(target: Path) -> Iterator[Path]:
    """Yield an empty folder to write into; its files reach ``target`` only when all went well.

    Files of the same names in ``target`` are replaced one by one, by renaming; others stay.
    Whatever goes wrong, the unfinished folder is removed. Raises InputError when ``target`` is a
    file or the disk cannot be written.
    """
    if target.exists() and not target.is_dir():
        raise InputError(f"cannot write into {target}: it is a file; name a folder with -o")
    unfinished: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        yield unfinished
        unfinished.chmod(0o755)
        if target.exists():
            _replace_files(unfinished, target)
        else:
            unfinished.rename(target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"cannot write {target}: {reason}; choose a writable folder") from error
    finally:
        if unfinished is not None:
            shutil.rmtree(unfinished, ignore_errors=True)


def _replace_files(unfinished: Path, target: Path) -> None:
    if not os.access(target, os.W_OK):
        raise PermissionError(13, "no permission to write", str(target))
    for file in sorted(unfinished.iterdir()):
        file.replace(target / file.name)
