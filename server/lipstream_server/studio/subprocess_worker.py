"""What is done in a process of its own: inspecting files, speaking texts, making films.

``python -m lipstream_server.studio.subprocess_worker`` reads one line of JSON and answers in lines
of JSON: ``{"progress": [done, all]}`` as often as it likes, and at the end ``{"result": {...}}`` or
``{"error": "a sentence"}``. It runs at low priority, and ends when its input does: when the server
is gone. Whatever a stranger's file does to a decoder, it has bounded memory, processor time and
file sizes, gains no privileges, and what it writes is its owner's alone.
"""

import contextlib
import ctypes
import json
import os
import resource
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lipstream.errors import LipstreamError

FILM_NICENESS, INSPECTION_NICENESS = 10, 3
"""Against live sessions, at 0, a film gets about a tenth of a core that both want; somebody waits
for the rest and for previews, which are short: they get a third."""


INSPECTION_MEMORY, FILM_MEMORY = 2_000_000_000, 12_000_000_000
"""Bytes of memory; a film on a GPU is not limited, since its driver maps what it may ever need."""
INSPECTION_CPU_SECONDS, FILM_CPU_SECONDS = 900, 86_400
INSPECTION_FILE_BYTES = 500_000_000
"""Of spoken text and posters; a film may have what is left of the disk."""
_NO_NEW_PRIVILEGES = 38  # PR_SET_NO_NEW_PRIVS of linux/prctl.h
_GPU = Path("/dev/nvidiactl")


def main() -> int:
    """Do what standard input says."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    request = json.loads(sys.stdin.readline())
    limit_self(request)
    os.nice(niceness_of(request))
    threading.Thread(target=_end_with_the_server, name="watch", daemon=True).start()
    from lipstream_server.studio.tasks import TASKS, Reply  # noqa: PLC0415  at low priority

    reply = Reply(answers)
    try:
        reply.end(result=TASKS[request.pop("task")](request, reply))
    except LipstreamError as error:
        reply.end(error=_sentence(error))
    return 0


def niceness_of(request: Mapping[str, Any]) -> int:
    """Return at which priority a task is done."""
    waits = request["task"] != "film" or request.get("preview")
    return INSPECTION_NICENESS if waits else FILM_NICENESS


def limit_self(request: Mapping[str, Any]) -> None:
    """Limit this process for a task; lower limits that it already has stay."""
    os.umask(0o077)
    film = request["task"] == "film"
    file_bytes = int(request["file_bytes"]) if film else INSPECTION_FILE_BYTES
    limits = {
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_CPU: FILM_CPU_SECONDS if film else INSPECTION_CPU_SECONDS,
        resource.RLIMIT_CORE: 0,
    }
    if not (film and _GPU.exists()):
        limits[resource.RLIMIT_DATA] = FILM_MEMORY if film else INSPECTION_MEMORY
    for kind, wanted in limits.items():
        soft, hard = (
            wanted if old == resource.RLIM_INFINITY else old for old in resource.getrlimit(kind)
        )
        lowest = min(wanted, soft, hard)
        resource.setrlimit(kind, (lowest, lowest))
    with contextlib.suppress(OSError, AttributeError):  # Linux alone has it
        ctypes.CDLL(None).prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)


def _end_with_the_server() -> None:
    sys.stdin.read()
    os._exit(1)  # as a kill: what is done stays, and is taken up at the next start


def _sentence(error: LipstreamError) -> str:
    from lipstream_server.studio.errors import disk_full_error, is_disk_full  # noqa: PLC0415

    cause = disk_full_error() if is_disk_full(error) else error
    return " ".join(str(cause).split())


if __name__ == "__main__":
    sys.exit(main())
