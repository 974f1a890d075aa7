"""Open the page in Firefox, by WebDriver BiDi, and print how it went as JSON: URL SECONDS."""

import itertools
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from websockets.sync.client import ClientConnection, connect

PREFERENCES = {
    "media.navigator.permission.disabled": True,
    "media.navigator.streams.fake": True,
    "media.autoplay.default": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "browser.shell.checkDefaultBrowser": False,
}
PATIENCE_SECONDS = 30.0
KEEP = """() => {
  const Own = window.RTCPeerConnection;
  window.kept = [];
  window.RTCPeerConnection = class extends Own {
    constructor(...words) { super(...words); window.kept.push(this); }
  };
}"""
COUNT = """(async () => {
  const all = await Promise.all(window.kept.map((one) => one.getStats()));
  const streams = all.flatMap((one) => [...one.values()]).filter((s) => s.type === "inbound-rtp");
  return streams.reduce((sum, s) => sum + (s.kind === "video" ? s.framesDecoded ?? 0 : 0), 0);
})()"""


class Page:
    """One tab, which runs a function before each page's own scripts."""

    def __init__(self, socket: ClientConnection, before: str) -> None:
        self._socket, self._numbers = socket, itertools.count(1)
        self._ask("session.new", capabilities={})
        tree = self._ask("browsingContext.getTree")
        self._context = tree["contexts"][0]["context"]
        self._ask("script.addPreloadScript", functionDeclaration=before)

    def open(self, url: str) -> None:
        self._ask("browsingContext.navigate", context=self._context, url=url, wait="complete")

    def value(self, script: str):
        target = {"context": self._context}
        answer = self._ask("script.evaluate", expression=script, target=target, awaitPromise=True)
        return answer["result"].get("value")

    def _ask(self, method: str, **parameters):
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (answer := json.loads(self._socket.recv(timeout=60))).get("id") != number:
            pass
        if answer["type"] != "success":
            raise RuntimeError(f"{method}: {answer}")
        return answer["result"]


@contextmanager
def firefox(before: str = KEEP) -> Iterator[Page]:
    """Run Firefox, and give its tab."""
    with tempfile.TemporaryDirectory() as folder:
        lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in PREFERENCES.items()]
        Path(folder, "user.js").write_text("\n".join(lines))
        command = ["firefox-esr", "--headless", "--profile", folder, "--remote-debugging-port", "0"]
        with subprocess.Popen(
            [*command, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                listening = (re.search(r"BiDi listening on (ws://\S+)", s) for s in process.stderr)
                url = next(filter(None, listening))[1]
                with connect(f"{url}/session", max_size=None) as socket:
                    yield Page(socket, before)
            finally:
                process.kill()


def main(url: str, seconds: float) -> None:
    with firefox() as page:
        begun = time.monotonic()
        page.open(url)
        while not page.value(COUNT) and time.monotonic() - begun < PATIENCE_SECONDS:
            time.sleep(0.02)
        first, at, before = time.monotonic() - begun, time.monotonic(), page.value(COUNT)
        time.sleep(seconds)
        frames, took = page.value(COUNT) - before, time.monotonic() - at
    sys.stdout.write(json.dumps({"first_s": first, "fps": frames / took}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
