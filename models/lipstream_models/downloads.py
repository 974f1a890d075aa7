"""A file from the network: it goes on where it broke off, and has its name once its sum is right.

What is fetched is large and connections break: pooch, which checks sums too, begins a broken
download anew, so the few lines that go on with one are our own (docs/decisions/downloads.md).
"""

import contextlib
import hashlib
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from ipaddress import ip_address
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from lipstream.errors import InputError

TRIES = 4
"""Connections in a row that may end early without a byte."""
_BLOCK = 1 << 18
_SECONDS = 30.0
"""Longest silence of a server."""
_SUMS = {32: "md5", 64: "sha256"}
"""Hexadecimal digits of a sum -> its kind."""

ShowProgress = Callable[[str, int, int | None], None]
"""Is told a file's name, its bytes so far, and of how many; None where nobody says."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that somebody publishes."""

    name: str
    """What it is called in its folder."""
    url: str
    digest: str
    """MD5 or SHA-256 of its content, hexadecimal."""
    size: int | None = None
    """Bytes, where they are known beforehand."""

    def is_in(self, folder: Path) -> bool:
        """Return whether it is there, whole."""
        path = folder / self.name
        return path.is_file() and self.sum_of(path) == self.digest

    def unfinished(self, folder: Path) -> Path:
        """Return where it is kept until it is whole."""
        return folder / f".{self.name}.{self.digest[:12]}.part"

    def sum_of(self, path: Path) -> str:
        """Return the sum of what is in a file, of the kind that is known of this one."""
        with path.open("rb") as opened:
            return hashlib.file_digest(opened, _SUMS[len(self.digest)]).hexdigest()


def download(file: RemoteFile, folder: Path, show: ShowProgress) -> None:
    """Fetch a file into a folder that is there, unless it is in it; go on with what came before.

    Raises InputError when it cannot be had, or is not what its sum says; then it is removed.
    """
    if file.is_in(folder):
        return
    unfinished = file.unfinished(folder)
    failed, why = 0, ""
    while failed < TRIES:
        here = size_of(unfinished)
        try:
            if _receive(file, unfinished, show):
                break
            why = "the connection ended early"
        except (HTTPException, TimeoutError, urllib.error.URLError, ConnectionError) as error:
            why = _reason(file.url, error)
        failed = 0 if size_of(unfinished) > here else failed + 1
    else:
        raise InputError(_broken_off(file, size_of(unfinished), why))
    if (digest := file.sum_of(unfinished)) != file.digest:
        unfinished.unlink()
        raise InputError(
            f"{file.url} is not the file that was published: its {_SUMS[len(digest)]} begins"
            f" {digest[:12]}, wanted {file.digest[:12]}; nothing was kept"
        )
    unfinished.replace(folder / file.name)


def read_text(url: str) -> str:
    """Return what stands at an address; raises InputError, ValueError for what is no text."""
    check_url(url)
    try:
        with _OPENER.open(url, timeout=_SECONDS) as answer:
            return str(answer.read().decode("utf-8"))
    except (HTTPException, OSError) as error:
        raise InputError(f"{url} cannot be reached ({_reason(url, error)})") from error


def size_of(path: Path) -> int:
    """Return the bytes of a file, 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


@contextlib.contextmanager
def shown_progress() -> Generator[ShowProgress]:
    """Give a function that draws bars, a file each; silent where nobody sits at a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        tasks = {}

        def show(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done, total=total)

        yield show


def check_url(url: str) -> None:
    """Raise InputError unless it is HTTPS, or HTTP on this machine."""
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
        return
    raise InputError(f"{url} can be read and changed on the way: only https:// is fetched from")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reason(url: str, error: Exception) -> str:
    """Say why a try failed; raises InputError where another would as well."""
    if isinstance(error, urllib.error.HTTPError) and error.code < 500:
        raise InputError(f"{url} answers {error.code} {error.reason}: check the address") from error
    return str(getattr(error, "reason", error)) or type(error).__name__


def _broken_off(file: RemoteFile, here: int, why: str) -> str:
    if here == 0:
        return f"{file.url} cannot be reached ({why}): is there a network?"
    size = "" if file.size is None else f" of {file.size}"
    return (
        f"{file.url} broke off at {here}{size} bytes ({why}): run the same command again to go on"
    )


def _receive(file: RemoteFile, unfinished: Path, show: ShowProgress) -> bool:
    """Append what the server has beyond what is there; return whether that is all of it."""
    begin = size_of(unfinished)
    headers = {"Range": f"bytes={begin}-"} if begin else {}
    check_url(file.url)
    request = urllib.request.Request(file.url, headers=headers)
    try:
        answer = _OPENER.open(request, timeout=_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == 416 and begin:  # there is no more: the sum will tell
            return True
        raise
    with answer:
        continued = answer.status == 206 and _range_begin(answer) == begin
        if answer.status == 206 and not continued:
            raise HTTPException(f"the server answers {answer.headers['Content-Range']}")
        done = begin if continued else 0
        length = answer.headers.get("Content-Length")
        total = file.size if length is None else done + int(length)
        _check_length(file, total)
        with unfinished.open("ab" if continued else "wb") as opened:
            while block := answer.read1(_BLOCK):
                opened.write(block)
                done += len(block)
                show(file.name, done, total)
    return total is None or done >= total


def _check_length(file: RemoteFile, total: int | None) -> None:
    if file.size is not None and total != file.size:
        raise InputError(f"{file.url} has {total} bytes where {file.size} were published")


def _range_begin(answer: Any) -> int | None:
    text = str(answer.headers.get("Content-Range", ""))
    begin = text.removeprefix("bytes ").partition("-")[0]
    return int(begin) if begin.isdigit() else None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to addresses that may be fetched from, and to no others."""

    def redirect_request(  # noqa: PLR0913, PLR0917  as it is overridden
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Check the new address."""
        check_url(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_Redirects)
