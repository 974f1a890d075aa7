"""Running ``child`` and hearing what it says."""

import asyncio
import json
import logging
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lipstream.errors import InputError, LipstreamError

log = logging.getLogger(__name__)

_COMMAND = (sys.executable, "-m", "lipstream_server.studio.subprocess_worker")
_LINE_BYTES = 1_000_000
_LOG_TAIL = 4_000


class ChildEnded(LipstreamError):
    """A child ended without an answer: killed, or by a fault of the program."""


async def ask_child(
    order: Mapping[str, Any],
    *,
    on_step: Callable[[int, int], None] = lambda *_: None,
    log_file: Path | None = None,
    limit_s: float | None = None,
) -> dict[str, Any]:
    """Have a child do something; return its answer.

    Raises InputError with its sentence when it refuses, ChildEnded when it dies, and InputError
    when it takes longer than ``limit_s``. When the caller is cancelled the child is killed.
    """
    errors = None if log_file is None else log_file.open("wb")
    try:
        process = await asyncio.create_subprocess_exec(
            *_COMMAND,
            stdin=PIPE,
            stdout=PIPE,
            stderr=errors or DEVNULL,
            limit=_LINE_BYTES,
            process_group=0,  # Ctrl-C is for the server; a new session would void the low priority
        )
    finally:
        if errors is not None:
            errors.close()
    try:
        async with asyncio.timeout(limit_s):
            return await _hear(process, order, on_step)
    except TimeoutError:
        raise InputError(f"this took longer than {limit_s:.0f} s: give a shorter one") from None
    except ChildEnded:
        _log_end(process, log_file)
        raise
    finally:
        await asyncio.shield(_end(process))


async def _hear(
    process: Process, order: Mapping[str, Any], on_step: Callable[[int, int], None]
) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(order).encode() + b"\n")
    while line := await process.stdout.readline():
        said = json.loads(line)
        if "step" in said:
            on_step(*said["step"])
        elif "refused" in said:
            raise InputError(said["refused"])
        else:
            done: dict[str, Any] = said["done"]
            return done
    await process.wait()
    raise ChildEnded("the work on it ended unexpectedly on the server: try again")


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


def _log_end(process: Process, log_file: Path | None) -> None:
    said = b""
    if log_file is not None:
        with log_file.open("rb") as opened:
            opened.seek(max(0, log_file.stat().st_size - _LOG_TAIL))
            said = opened.read()
    tail = said.decode("utf-8", "replace").strip()
    log.error("studio: child ended with code %s\n%s", process.returncode, tail)
