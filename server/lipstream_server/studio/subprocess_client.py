"""Runs ``subprocess_worker`` and reads its answers."""

import asyncio
import json
import logging
import os
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lipstream.errors import InputError, LipstreamError
from lipstream.speech.openai_speech import KEY_NAME

log = logging.getLogger(__name__)

_COMMAND = (sys.executable, "-m", "lipstream_server.studio.subprocess_worker")
_LINE_BYTES = 1_000_000
_LOG_TAIL = 4_000


_PASSED_ON = re.compile(
    r"PATH|HOME|USER|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|XDG_\w+|PYTHON\w*|VIRTUAL_ENV|LD_LIBRARY_PATH"
    r"|(OMP|MKL|OPENBLAS|CUDA|NVIDIA|TENSORRT|ORT|OPENVINO|ESPEAK|PIPER)_?\w*|SSL_CERT_\w+|\w+_proxy",
    re.IGNORECASE,
)
"""Variables that a subprocess needs; the server's token and what else an operator may have set
are none of its business."""
_SPEECH_TASKS = {"speak", "voices"}


class SubprocessDied(LipstreamError):
    """A subprocess ended without an answer: killed, or by a fault of the program."""


def environment_for(task: str) -> dict[str, str]:
    """Return the environment for a task; the key of the speech provider is for speech alone."""
    passed_on = {name: value for name, value in os.environ.items() if _PASSED_ON.fullmatch(name)}
    if task in _SPEECH_TASKS and KEY_NAME in os.environ:
        passed_on[KEY_NAME] = os.environ[KEY_NAME]
    return passed_on


async def run_in_subprocess(
    request: Mapping[str, Any],
    *,
    on_progress: Callable[[int, int], None] = lambda *_: None,
    log_file: Path | None = None,
    limit_s: float | None = None,
) -> dict[str, Any]:
    """Have a subprocess do a task; return its answer.

    Raises InputError with its sentence when it cannot, SubprocessDied when it dies, and InputError
    when it takes longer than ``limit_s``. When the caller is cancelled it is killed.
    """
    errors = None if log_file is None else log_file.open("wb")
    try:
        process = await asyncio.create_subprocess_exec(
            *_COMMAND,
            stdin=PIPE,
            stdout=PIPE,
            stderr=errors or DEVNULL,
            limit=_LINE_BYTES,
            env=environment_for(str(request["task"])),
            process_group=0,  # Ctrl-C is for the server; a new session would void the low priority
        )
    finally:
        if errors is not None:
            errors.close()
    try:
        async with asyncio.timeout(limit_s):
            return await _read_answers(process, request, on_progress)
    except TimeoutError:
        raise InputError(f"this took longer than {limit_s:.0f} s: give a shorter one") from None
    except SubprocessDied:
        _log_end(process, log_file)
        raise
    finally:
        await asyncio.shield(_end(process))


async def _read_answers(
    process: Process, request: Mapping[str, Any], on_progress: Callable[[int, int], None]
) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(request).encode() + b"\n")
    while line := await process.stdout.readline():
        answer = json.loads(line)
        if "progress" in answer:
            on_progress(*answer["progress"])
        elif "error" in answer:
            raise InputError(answer["error"])
        else:
            result: dict[str, Any] = answer["result"]
            return result
    await process.wait()
    raise SubprocessDied("the work on it ended unexpectedly on the server: try again")


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


def _log_end(process: Process, log_file: Path | None) -> None:
    tail = b""
    if log_file is not None:
        with log_file.open("rb") as opened:
            opened.seek(max(0, log_file.stat().st_size - _LOG_TAIL))
            tail = opened.read()
    text = tail.decode("utf-8", "replace").strip()
    log.error("studio: subprocess ended with code %s\n%s", process.returncode, text)
