"""Chromium on a bad line: URL SECONDS and a line as JSON; prints what its receiver counted as JSON.

With ``"gap_s"`` in the line the path is gone for so long, after SECONDS.
"""

import json
import shutil
import sys
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[3]))
from server.relay import Line, Relay

KEEP = """
  const Own = window.RTCPeerConnection;
  window.kept = [];
  window.RTCPeerConnection = class extends Own {
    constructor(...words) { super(...words); window.kept.push(this); }
    async setRemoteDescription(answer) {
      return super.setRemoteDescription({ type: "answer", sdp: await window.viaRelay(answer.sdp) });
    }
  };
"""
COUNTS = """async () => {
  const stats = [...(await window.kept.at(-1).getStats()).values()];
  const streams = stats.filter((one) => one.type === "inbound-rtp");
  const sound = streams.find((one) => one.kind === "audio") ?? {};
  const pictures = streams.find((one) => one.kind === "video") ?? {};
  return {
    frames: pictures.framesDecoded ?? 0, height: pictures.frameHeight ?? 0,
    bytes: (pictures.bytesReceived ?? 0) + (sound.bytesReceived ?? 0),
    keys: pictures.keyFramesDecoded ?? 0, freezes: pictures.totalFreezesDuration ?? 0,
    sound_packets: sound.packetsReceived ?? 0, sound_lost: sound.packetsLost ?? 0,
    samples: sound.totalSamplesReceived ?? 0, concealed: sound.concealedSamples ?? 0,
    silent: sound.silentConcealedSamples ?? 0, fec: sound.fecPacketsReceived ?? 0,
    jitter_ms: 1000 * (sound.jitterBufferDelay ?? 0) / (sound.jitterBufferEmittedCount || 1),
  };
}"""


def watch(page, seconds: float) -> list[dict]:
    """Return the counts about every 50 ms."""
    counted, begun = [], time.monotonic()
    while (now := time.monotonic() - begun) < seconds:
        counted.append(page.evaluate(COUNTS) | {"at": now})
        page.wait_for_timeout(50)
    return counted


def longest_gap(counted: list[dict]) -> float:
    """Return the longest time in which no picture was decoded."""
    longest, last_at, frames = 0.0, counted[0]["at"], counted[0]["frames"]
    for one in counted:
        if one["frames"] > frames:
            longest, last_at, frames = max(longest, one["at"] - last_at), one["at"], one["frames"]
    return max(longest, counted[-1]["at"] - last_at)


def main(url: str, seconds: float, words: dict) -> None:
    gap_s, settle_s = words.pop("gap_s", 0.0), words.pop("settle_s", 3.0)
    relay = Relay(Line(**words))
    with sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"],
        )
        page = browser.new_page()
        page.expose_function("viaRelay", relay.stand_before)
        page.add_init_script(KEEP)
        page.goto(url)
        while not page.evaluate("window.kept?.length") or not page.evaluate(COUNTS)["frames"]:
            page.wait_for_timeout(20)
        page.wait_for_timeout(settle_s * 1000)
        counted = watch(page, seconds)
        first, last = counted[0], counted[-1]
        took = last["at"] - first["at"]
        change = {name: last[name] - first[name] for name in first}
        result = {
            "fps": change["frames"] / took,
            "longest_gap_s": longest_gap(counted),
            "sound_packets_a_second": change["sound_packets"] / took,
            "sound_lost": change["sound_lost"],
            "concealed_share": (change["concealed"] - change["silent"]) / max(1, change["samples"]),
            "fec_packets": change["fec"],
            "kbit_s": change["bytes"] * 8 / took / 1000,
            "height": last["height"],
            "heights": sorted({one["height"] for one in counted}),
            "keys": change["keys"],
            "jitter_ms": last["jitter_ms"],
        }
        if gap_s:
            relay.line.dead = True
            page.wait_for_timeout(gap_s * 1000)
            relay.line.dead = False
            begun, frames = time.monotonic(), page.evaluate(COUNTS)["frames"]
            while page.evaluate(COUNTS)["frames"] < frames + 5 and time.monotonic() - begun < 30:
                page.wait_for_timeout(20)
            result["back_s"] = time.monotonic() - begun
        browser.close()
    relay.close()
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), json.loads(sys.argv[3]))
