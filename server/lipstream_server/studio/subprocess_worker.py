"""What is done beside the server: looking into files, speaking texts, making films.

``python -m lipstream_server.studio.subprocess_worker`` reads one line of JSON and answers in lines
of JSON: ``{"step": [done, all]}`` as often as it likes, and at the end ``{"done": {...}}`` or
``{"refused": "a sentence"}``. It runs at low priority, and ends when its input does: when the
server is gone.
"""

import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from lipstream.errors import LipstreamError
from lipstream_server.studio.subprocess_reply import Reply

FILM_NICENESS, LOOK_NICENESS = 10, 3
"""Against live sessions, at 0, a film gets about a tenth of a core that both want; somebody waits
for the rest, which is short: that gets a third."""


def main() -> int:
    """Do what standard input says."""
    reply = Reply(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)  # what libraries print is no answer
    order = json.loads(sys.stdin.readline())
    os.nice(FILM_NICENESS if order["do"] == "film" else LOOK_NICENESS)
    threading.Thread(target=_end_with_the_server, name="watch", daemon=True).start()
    try:
        reply.end(done=_task(order.pop("do"))(order, reply))
    except LipstreamError as error:
        reply.end(refused=_sentence(error))
    return 0


def _end_with_the_server() -> None:
    sys.stdin.read()
    os._exit(1)  # as a kill: what is done stays, and is taken up at the next start


def _task(name: str) -> Callable[[Mapping[str, Any], Reply], dict[str, Any]]:
    from lipstream_server.studio import tasks  # noqa: PLC0415  imported at low priority

    return {
        "film": tasks.make_film,
        "face": tasks.face,
        "sound": tasks.sound,
        "avatar": tasks.avatar,
        "speak": tasks.speak,
        "voices": tasks.voices,
    }[name]


def _sentence(error: LipstreamError) -> str:
    from lipstream_server.studio.errors import disk_full, full_disk  # noqa: PLC0415

    said = str(full_disk()) if disk_full(error) else str(error)
    return " ".join(said.split())


if __name__ == "__main__":
    sys.exit(main())
