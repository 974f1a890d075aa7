"""How long an answer takes from its text to its first picture: measured and told, not judged.

The promise is under 300 ms beyond the model's look-ahead, with espeak-ng, on a machine at rest:
``pytest -m slow -s tests/server/stage/test_text_delay.py``.
"""

import asyncio
import statistics
import sys

import pytest

from lipstream.errors import BackendUnavailable
from lipstream.speech import SpeechSettings
from lipstream.speech.espeak import espeak_library
from lipstream_server.stage.live_avatar import FPS, LiveAvatar
from lipstream_server.stage.messages import SpeakText
from lipstream_server.stage.schedule import RATE, VideoPicture
from lipstream_server.stage.text_to_speech import TextToSpeechQueue
from server.peers import until

TEXT = "Good morning, and thank you for calling: how may I help you today? One moment, please."
TIMES = 20


async def measure(worker, avatar):
    """Return, for each text, the milliseconds to its first picture beyond the look-ahead."""
    live_avatar = LiveAvatar(worker, avatar)
    clock, begun, shown, told = live_avatar._clock, [], [], []
    texts = TextToSpeechQueue(live_avatar, SpeechSettings(), told.append)
    tell, send = live_avatar.on_cue, live_avatar.on_media

    def on_cue(cue):
        begun.append(cue.sample)
        tell(cue)

    def on_media(item):
        if isinstance(item, VideoPicture):
            shown.append((clock(), item.sample))
        send(item)

    live_avatar.on_cue, live_avatar.on_media = on_cue, on_media
    playing, delays = asyncio.create_task(live_avatar.run()), []
    try:
        await until(lambda: len(shown) > 10)
        for _ in range(TIMES):
            begun.clear()
            sent = clock()
            texts.add(SpeakText(TEXT))
            await until(lambda: begun and shown[-1][1] >= begun[0])
            first = next(at for at, sample in shown if sample > begun[0] - RATE / FPS and at > sent)
            delays.append((first - sent) * 1000 - live_avatar._session.look_ahead_ms)
            texts.interrupt()
            live_avatar.interrupt()
            await asyncio.sleep(0.4)
    finally:
        playing.cancel()
        texts.interrupt()
        live_avatar.close()
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
