"""How long a viewer waits for the first picture, in Chromium and in Firefox, and where it goes.

``LIPSTREAM_MEASURE=1 pytest -rA tests/browser/test_first_picture.py`` is the measurement.
"""

import json
import shutil
import statistics
import time
from contextlib import contextmanager

import pytest

from browser.driving import launch, serving
from server.webrtc.clients.firefox import firefox
from timing import MEASURE, limit

TIMES = 10 if MEASURE else 2
MOST_SECONDS = limit(1.2, 10)
NOTE = """() => {
  const noted = window.noted = {};
  const note = (what) => (noted[what] ??= performance.now());
  const Own = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Own {
    constructor(...words) {
      super(...words);
      this.addEventListener("iceconnectionstatechange", () =>
        ["connected", "completed"].includes(this.iceConnectionState) && note("ICE"));
      this.addEventListener("connectionstatechange", () =>
        this.connectionState === "connected" && note("DTLS"));
    }
    async setLocalDescription(...words) {
      await super.setLocalDescription(...words);
      note("offer");
    }
    async setRemoteDescription(...words) {
      note("answer");
      await super.setRemoteDescription(...words);
    }
  };
  const ask = window.fetch;
  window.fetch = (where, ...words) => {
    if (/[/](session|whep)/.test(where)) note("joining");
    return ask(where, ...words);
  };
  addEventListener("DOMContentLoaded", () => {
    note("page");
    const video = document.querySelector("video");
    video?.requestVideoFrameCallback?.(() => note("picture"));
    video?.addEventListener("loadeddata", () => note("loaded"));
  });
}"""
STAGES = ("page", "joining", "offer", "answer", "ICE", "DTLS", "picture")
"""What is noted, in order."""


@contextmanager
def chromium(playwright, speech):
    """Give what opens a page and returns what was noted."""
    browser = launch(playwright, speech)

    def visit(url: str) -> dict[str, float]:
        context = browser.new_context(bypass_csp=True)
        page = context.new_page()
        page.add_init_script(f"({NOTE})()")
        page.goto(url)
        page.wait_for_function("noted.picture")
        noted = page.evaluate("noted")
        page.goto("about:blank")
        context.close()
        return noted

    yield visit
    browser.close()


@contextmanager
def mozilla():
    """Give what opens a page and returns what was noted."""
    if shutil.which("firefox-esr") is None:
        pytest.skip("no firefox-esr on this machine")
    with firefox(NOTE) as page:

        def visit(url: str) -> dict[str, float]:
            page.open(url)
            until = time.monotonic() + 30
            while not page.value("noted.picture") and time.monotonic() < until:
                time.sleep(0.05)
            noted = json.loads(page.value("JSON.stringify(noted)"))
            page.open("about:blank")
            return noted

        yield visit


@pytest.fixture(scope="module", params=["Chromium", "Firefox"])
def visit(request):
    if request.param == "Firefox":
        with mozilla() as opened:
            yield request.param, opened
        return
    playwright = request.getfixturevalue("playwright")
    with chromium(playwright, request.getfixturevalue("speech")) as opened:
        yield request.param, opened


@pytest.fixture(scope="module")
def url():
    with serving() as served:
        yield served


@pytest.mark.parametrize("role", ["page", "viewer"])
def test_the_first_picture_comes_soon(visit, url, role, measured):
    name, opened = visit
    address = url if role == "page" else f"{url}/?stage=hall&view=clean"
    opened(address)  # the server's and the browser's own first time
    noted = [opened(address) for _ in range(TIMES)]
    median = {what: statistics.median(one[what] for one in noted) for what in STAGES}
    waited = [(one["picture"] - one["joining"]) / 1000 for one in noted]
    opening = [one["picture"] / 1000 for one in noted]
    stages = ", ".join(f"{what} {median[what]:.0f}" for what in STAGES)
    measured.append(
        f"{name}, {role}: first picture, {TIMES} times, p50 {statistics.median(waited):.2f} s after"
        f" joining, {statistics.median(opening):.2f} s after opening the page (most"
        f" {max(opening):.2f}); ms: {stages}"
    )
    assert statistics.median(opening) <= MOST_SECONDS
