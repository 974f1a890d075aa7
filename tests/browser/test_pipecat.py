"""A Pipecat bot with a face, in its own environment, and a real Chromium at the other end."""

import socket
import subprocess
import time
from contextlib import contextmanager

import numpy as np
import pytest

from browser.driving import leave, record
from browser.measuring import Box, expected_levels, fit
from clients.integrations.pipecat_environment import ROOT, environment, pipecat_python
from lipstream import LipSync, Options
from timing import limit
from toys import make_toy_avatar

LEAST_RATE = limit(24.5, 12)
MOST_OFFSET_MS = limit(40, 150)
TOY_MOUTH = Box(180, 340, 150, 90)
TEXT = "The quick brown fox jumps over the lazy dog. We were away a year ago. " * 3


@contextmanager
def bot(*arguments):
    """Run the example on a free port; gives its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [pipecat_python(), "examples/pipecat_bot.py", "--port", str(port)]
    with subprocess.Popen([*command, *map(str, arguments)], cwd=ROOT, env=environment()) as process:
        try:
            end = time.monotonic() + 60
            while time.monotonic() < end and process.poll() is None:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def open_bot(browser, url):
    context = browser.new_context(bypass_csp=True)
    page = context.new_page()
    page.goto(url)
    page.wait_for_function("window.say && channel.readyState === 'open' && avatar.videoWidth")
    return context, page


@pytest.fixture(scope="module")
def toy_bot(toy_folder, tmp_path_factory):
    pack = tmp_path_factory.mktemp("toy") / "toy512.avatar"
    make_toy_avatar(frames=1, size=512).save(pack)
    with bot("--model", toy_folder, "--avatar", pack) as url:
        yield url, toy_folder, pack


def test_pictures_come_at_their_rate_and_lips_are_in_step(browser, toy_bot, measured):
    url, model, pack = toy_bot
    context, page = open_bot(browser, url)
    page.evaluate("text => say(text)", TEXT)
    page.wait_for_timeout(3000)
    recording = record(page, 10.0, TOY_MOUTH)
    leave(context)
    with LipSync.open(Options(model=model, avatar=pack, rate=48_000)) as lips:
        found = fit(recording, *expected_levels(lips, recording.pcm, TOY_MOUTH, 8))
    measured.append(
        f"Pipecat: {recording.rate:.2f} pictures a second, picture behind sound"
        f" {found.offset_ms:+.0f} ms, r = {found.correlation:.3f}"
    )
    assert recording.rate >= LEAST_RATE
    assert found.correlation > 0.6
    assert abs(found.offset_ms) <= MOST_OFFSET_MS


def test_an_interruption_leaves_nothing_to_be_heard(browser, toy_bot, measured):
    url, *_ = toy_bot
    context, page = open_bot(browser, url)
    page.evaluate("text => say(text)", TEXT)
    page.wait_for_timeout(4000)
    page.evaluate(
        "() => void setTimeout(() => { window.hushed = performance.now(); hush(); }, 2000)"
    )
    recording = record(page, 5.0, TOY_MOUTH)
    hushed = page.evaluate("window.hushed") / 1000 - recording.heard_at
    leave(context)
    at = round(hushed * 48_000)
    before, after = recording.pcm[:at], recording.pcm[at:]
    last = int(np.flatnonzero(np.abs(after) > 100).max(initial=0)) / 48
    measured.append(f"Pipecat: the last sound is heard {last:.0f} ms after an interruption")
    assert np.abs(before).max() > 1000
    assert not (np.abs(after[48 * 1000 :]) > 100).any()
    assert last < limit(300, 1000)
