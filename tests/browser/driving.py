"""Start a server process and a browser, and record what comes out."""

import contextlib
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

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
def serving(*arguments: object) -> Generator[str]:
    """Run `lipstream serve` on a free port; gives its URL."""
    with killable(*arguments) as (process, url):
        yield url
        process.terminate()
        assert process.wait(20) == 0


@contextmanager
def killable(*arguments: object) -> Generator[tuple[subprocess.Popen[str], str]]:
    """Run `lipstream serve` as above; gives its process, too, which may end before."""
    command = [*SERVE, "--port", "0", *map(str, arguments)]  # the last --port counts
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            ready = process.stdout.readline()
            found = re.search(r"http://\S+", ready)
            assert found, f"the server did not start: {ready!r}, exit code {process.poll()}"
            yield process, found.group()
        finally:
            process.kill()


class Balancer:
    """One address for several servers: whoever comes is passed on to the first that answers."""

    def __init__(self, *urls: str) -> None:
        self._ports = [int(url.rpartition(":")[2]) for url in urls]
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                came, _ = self._listener.accept()
                server = self._server()
                for pair in ((came, server), (server, came)):
                    threading.Thread(target=_pass_on, args=pair, daemon=True).start()

    def _server(self) -> socket.socket:
        for port in self._ports:
            with contextlib.suppress(ConnectionRefusedError):
                return socket.create_connection(("127.0.0.1", port))
        raise AssertionError("no server is left")


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while sent := source.recv(1 << 16):
            target.sendall(sent)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


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
