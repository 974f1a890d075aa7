"""What a viewer in a real browser sees and hears: the promises of the product, measured there."""

import os

import numpy as np
import pytest

from browser.driving import leave, open_page, record
from browser.measuring import Box, expected_levels, fit, speaking_parts
from lipstream import LipSync, Options

SECONDS = float(os.environ.get("LIPSTREAM_BROWSER_SECONDS", "12"))
TOY_MOUTH = Box(180, 340, 150, 90)


@pytest.fixture(scope="module")
def seen_and_heard(browser, toy_server):
    """A viewer's recording while a voice speaks through the microphone, and the toy engine."""
    context = browser.new_context(permissions=["microphone"], bypass_csp=True)
    page = open_page(context, toy_server.url)
    page.click("#talk")
    page.wait_for_selector("body[data-speaking=true]")
    page.wait_for_timeout(3000)  # browsers line the tracks up over their first reports
    recording = record(page, SECONDS, TOY_MOUTH)
    leave(context)
    return recording


@pytest.fixture(scope="module")
def toy_lips(toy_server):
    options = Options(model=toy_server.model, avatar=toy_server.avatar, rate=48_000)
    with LipSync.open(options) as lips:
        yield lips


def test_pictures_come_at_their_rate(seen_and_heard, measured):
    measured.append(f"{seen_and_heard.rate:.2f} pictures a second over {SECONDS:.0f} s")
    assert seen_and_heard.rate >= 24.5


def test_lips_are_in_step_with_the_voice(seen_and_heard, toy_lips, measured):
    expected = expected_levels(toy_lips, seen_and_heard.pcm, TOY_MOUTH)
    found = fit(seen_and_heard, expected)
    measured.append(f"picture behind sound {found.offset_ms:+.0f} ms, r = {found.correlation:.3f}")
    assert found.correlation > 0.9
    assert abs(found.offset_ms) <= 40


def test_the_mouth_moves_in_speech_and_rests_in_silence(seen_and_heard, measured):
    moments = seen_and_heard.seen_at - seen_and_heard.heard_at
    speech, silence = speaking_parts(seen_and_heard.pcm, moments)
    assert speech.sum() > 10
    assert silence.sum() > 10
    moving = np.std(seen_and_heard.levels[speech])
    resting = np.std(seen_and_heard.levels[silence])
    measured.append(f"mouth moves {moving:.1f} in speech, {resting:.1f} in silence")
    assert moving > 5 * resting


def test_two_viewers_at_once_both_get_every_picture(visitor, toy_server, measured):
    pages = [open_page(visitor, toy_server.url) for _ in range(2)]
    for page in pages:
        page.click("#talk")
    count = "document.getElementById('avatar').getVideoPlaybackQuality().totalVideoFrames"
    clock = "performance.now() / 1000"
    begun = [(page.evaluate(count), page.evaluate(clock)) for page in pages]
    pages[0].wait_for_timeout(SECONDS * 1000)
    for page, (pictures, at) in zip(pages, begun, strict=True):
        rate = (page.evaluate(count) - pictures) / (page.evaluate(clock) - at)
        measured.append(f"{rate:.2f} pictures a second with two viewers")
        assert rate >= 24.5
