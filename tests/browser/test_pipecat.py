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


SPEAK_ON = """(after_ms) => {
  channel.addEventListener("message", ({ data }) => {
    const { type } = JSON.parse(data);
    if (type === "bot-interrupted") window.told ??= performance.now();
  });
  setTimeout(() => {
    window.hushed = performance.now();
    hush();
    setTimeout(() => say("And so we go on."), after_ms);
  }, 2000);
}"""


def interrupted(browser, url, after_ms):
    """Say something, interrupt it, and after a while say something else.

    Return which milliseconds had sound, when the interruption was asked for and told, and how long
    sound takes from the page to being heard.
    """
    context, page = open_bot(browser, url)
    page.evaluate("text => say(text)", TEXT)
    page.wait_for_timeout(4000)
    page.evaluate(SPEAK_ON, after_ms)
    recording = record(page, 7.0, TOY_MOUTH)
    hushed, told = (
        page.evaluate(f"window.{name}") - recording.heard_at * 1000 for name in ("hushed", "told")
    )
    leave(context)
    loud = np.abs(recording.pcm[: len(recording.pcm) // 48 * 48].reshape(-1, 48)).max(axis=1) > 100
    return np.flatnonzero(loud), hushed, told, recording.output_ms


def test_an_interruption_leaves_nothing_to_be_heard_and_the_next_reply_is(
    browser, toy_bot, measured
):
    loud, hushed, told, output_ms = interrupted(browser, toy_bot[0], 1000)
    after = loud[loud > told]
    last = after[after < told + 500].max(initial=round(told))
    left = last - told - output_ms
    measured.append(
        f"Pipecat: the last sound is heard {last - hushed:.0f} ms after an interruption,"
        f" {last - told:.0f} ms after the page was told, of which {output_ms:.0f} ms were out of"
        f" its hands: it leaves the page {left:.0f} ms after"
    )
    assert np.count_nonzero(loud < hushed) > 1000
    assert left < limit(20, 300)
    assert np.count_nonzero(after > hushed + 1000) > 500


def test_a_reply_that_comes_at_once_is_heard_from_its_beginning(browser, toy_bot, measured):
    whole, cut = (
        np.count_nonzero(loud > told + after_ms + limit(60, 300))
        for after_ms in (1000, 0)
        for loud, _, told, _ in [interrupted(browser, toy_bot[0], after_ms)]
    )
    measured.append(f"Pipecat: {whole} ms of a reply, at once after an interruption {cut} ms")
    assert cut > whole - limit(150, 500)
