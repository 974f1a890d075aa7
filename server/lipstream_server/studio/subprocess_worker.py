"""What is done in a process of its own: inspecting files, speaking texts, making films.

``python -m lipstream_server.studio.subprocess_worker`` reads one line of JSON and answers in lines
of JSON: ``{"progress": [done, all]}`` as often as it likes, and at the end ``{"result": {...}}`` or
``{"error": "a sentence"}``. It runs at low priority, and ends when its input does: when the server
is gone.
"""

import json
import os
import sys
import threading

from lipstream.errors import LipstreamError

FILM_NICENESS, INSPECTION_NICENESS = 10, 3
"""Against live sessions, at 0, a film gets about a tenth of a core that both want; somebody waits
for the rest, which is short: that gets a third."""


def main() -> int:
    """Do what standard input says."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    request = json.loads(sys.stdin.readline())
    os.nice(FILM_NICENESS if request["task"] == "film" else INSPECTION_NICENESS)
    threading.Thread(target=_end_with_the_server, name="watch", daemon=True).start()
    from lipstream_server.studio.tasks import TASKS, Reply  # noqa: PLC0415  at low priority

    reply = Reply(answers)
    try:
        reply.end(result=TASKS[request.pop("task")](request, reply))
    except LipstreamError as error:
        reply.end(error=_sentence(error))
    return 0


def _end_with_the_server() -> None:
    sys.stdin.read()
    os._exit(1)  # as a kill: what is done stays, and is taken up at the next start


def _sentence(error: LipstreamError) -> str:
    from lipstream_server.studio.errors import disk_full_error, is_disk_full  # noqa: PLC0415

    shown = disk_full_error() if is_disk_full(error) else error
    return " ".join(str(shown).split())


if __name__ == "__main__":
    sys.exit(main())
