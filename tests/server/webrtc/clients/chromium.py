"""Open the page in Chromium and print how it went as JSON: URL SECONDS."""

import json
import shutil
import sys
import time

from playwright.sync_api import sync_playwright

KEEP = """
  const Own = window.RTCPeerConnection;
  window.kept = [];
  window.RTCPeerConnection = class extends Own {
    constructor(...words) { super(...words); window.kept.push(this); }
  };
"""
COUNT = """async () => {
  const all = await Promise.all(window.kept.map((one) => one.getStats()));
  const streams = all.flatMap((one) => [...one.values()]).filter((s) => s.type === "inbound-rtp");
  return streams.reduce((sum, s) => sum + (s.kind === "video" ? s.framesDecoded ?? 0 : 0), 0);
}"""
PATIENCE_SECONDS = 30.0


def main(url: str, seconds: float) -> None:
    with sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page()
        page.add_init_script(KEEP)
        begun = time.monotonic()
        page.goto(url)
        while not page.evaluate(COUNT) and time.monotonic() - begun < PATIENCE_SECONDS:
            time.sleep(0.02)
        first, at, before = time.monotonic() - begun, time.monotonic(), page.evaluate(COUNT)
        time.sleep(seconds)
        frames, took = page.evaluate(COUNT) - before, time.monotonic() - at
        browser.close()
    sys.stdout.write(json.dumps({"first_s": first, "fps": frames / took}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
