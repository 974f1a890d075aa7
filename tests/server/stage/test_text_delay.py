"""How long an answer takes from its text to its first picture: measured and told, not judged.

The promise is under 300 ms beyond the model's look-ahead, with espeak-ng, on a machine at rest:
``pytest -m slow -s tests/server/stage/test_text_delay.py``.
"""

import asyncio
import json
import statistics
import sys
import time

import pytest

from lipstream.errors import BackendUnavailable
from lipstream.live.playout import ShownPicture
from lipstream.speech.espeak import espeak_library
from lipstream_server.stage.messages import SpeakText
from lipstream_server.stage.stage import Stage
from server.peers import until

TEXT = "Good morning, and thank you for calling: how may I help you today? One moment, please."
TIMES = 20


class Watcher:
    """Takes part in a stage, and notes when its pictures were shown and a text was begun."""

    wants_face, lost, name = False, 0, "watcher"

    def __init__(self):
        self.shown, self.started = [], []

    def on_media(self, item):
        if isinstance(item, ShownPicture):
            self.shown.append((time.monotonic(), item.frame.openness))

    def tell(self, event):
        if json.loads(event)["type"] == "started":
            self.started.append(time.monotonic())

    def stage_ended(self, error):
        pass


async def measure(worker, avatar):
    """Return, for each text, the milliseconds to its first picture beyond the look-ahead."""
    watcher, stage, delays = Watcher(), Stage.open("delay", worker, avatar), []
    stage.join(watcher)
    stage.attach(watcher)
    stage.start()
    try:
        await until(lambda: len(watcher.shown) > 10)
        for _ in range(TIMES):
            watcher.started.clear()
            sent = time.monotonic()
            stage.say(SpeakText(TEXT))
            await until(lambda: watcher.started)
            look_ahead_ms = stage.conversation._session.look_ahead_ms
            delays.append((watcher.started[0] - sent) * 1000 - look_ahead_ms)
            stage.interrupt()
            await asyncio.sleep(0.4)
    finally:
        stage.end()
    return delays


@pytest.mark.slow
def test_from_a_text_to_its_first_picture(worker, toy_avatar, capsys):
    try:
        espeak_library()
    except BackendUnavailable as error:
        pytest.skip(str(error))
    delays = sorted(asyncio.run(measure(worker, toy_avatar)))
    assert len(delays) == TIMES
    with capsys.disabled():
        figures = f"p50 {statistics.median(delays):.0f} ms, most {delays[-1]:.0f} ms"
        sys.stdout.write(f"\ntext to first picture, beyond the look-ahead: {figures}\n")
