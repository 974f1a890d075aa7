"""Start a server process and a browser, and record what comes out."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from browser.measuring import Box, Recording

NAMES = ("chromium", "chromium-browser", "google-chrome")
SERVE = [
    sys.executable,
    "-c",
    "import sys; from lipstream.cli import main; sys.exit(main())",
    "serve",
]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--allow-loopback-in-peer-connection",
    "--autoplay-policy=no-user-gesture-required",
]
RECORDER = (Path(__file__).parent / "recorder.js").read_text()


@contextmanager
def serving(*arguments: object) -> Iterator[str]:
    """Run `lipstream serve` on a free port; gives its URL."""
    command = [*SERVE, "--port", "0", *map(str, arguments)]  # the last --port counts
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            ready = process.stdout.readline()
            found = re.search(r"http://\S+", ready)
            assert found, f"the server did not start: {ready!r}, exit code {process.poll()}"
            yield found.group()
        finally:
            process.terminate()
            assert process.wait(20) == 0


def launch(playwright: Any, microphone: Path, without: str = "") -> Any:
    """Start a browser whose microphone speaks a file over and over."""
    flags = [flag for flag in FLAGS if flag != without]
    flags.append(f"--use-file-for-fake-audio-capture={microphone}")
    return playwright.chromium.launch(executable_path=find_chromium(), args=flags)


def find_chromium() -> str | None:
    """Return the path of an installed Chromium."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def record(page: Any, seconds: float, box: Box) -> Recording:
    """Watch a page that is live, and listen."""
    sides = {"x": box.x, "y": box.y, "width": box.width, "height": box.height}
    return Recording.of(page.evaluate(RECORDER, {"seconds": seconds, "box": sides}))


def open_page(context: Any, url: str) -> Any:
    """Open the page and wait until it is live."""
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector("body[data-connection=live][data-picture=true]")
    return page


def leave(context: Any) -> None:
    """Go from every page as a visitor does, so that their places are free, and close."""
    for page in context.pages:
        page.goto("about:blank")
    context.close()
