"""Voices that need nothing installed, and a real HTTP server of OpenAI's form."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from lipstream.speech import Mark, SpeechChunk

RATE = 24_000


def hum(seconds: float, rate: int = RATE) -> np.ndarray:
    """Return a rising hum, so that no two parts are alike."""
    time_s = np.arange(round(seconds * rate)) / rate
    return (8000 * np.sin(2 * np.pi * (150 + 40 * time_s) * time_s)).astype(np.int16)


class Hummer:
    """A voice that hums a tenth of a second for each letter, all of a sentence at once."""

    name, language, rate = "hummer", "en", RATE

    def __init__(self) -> None:
        self.said: list[str] = []
        self.stopped = self.closed = False

    def say(self, sentence: str) -> Iterator[SpeechChunk]:
        self.said.append(sentence)
        yield SpeechChunk(hum(len(sentence) / 10), (Mark("word", 0, 1, 0),))

    def stop(self) -> None:
        self.stopped = True

    def close(self) -> None:
        self.closed = True


class SpeechServer:
    """What the server got, and what it does next."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.answer: Callable[[BaseHTTPRequestHandler], None] = send_pcm(hum(0.5))
        self.go_on = threading.Event()
        """What an answer may wait for in its middle."""


def send_pcm(pcm: np.ndarray, kind: str = "audio/pcm", length: int | None = None) -> Any:
    """Return an answer of raw sound; ``length`` may promise more than there is."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        sound = pcm.astype("<i2").tobytes()
        head(request, 200, kind, len(sound) if length is None else length)
        request.wfile.write(sound)

    return answer


def send_text(status: int, text: str, kind: str = "application/json") -> Any:
    """Return an answer that is no sound."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        head(request, status, kind, len(text.encode()))
        request.wfile.write(text.encode())

    return answer


def send_chunks(server: SpeechServer, first: bytes, rest: bytes | None, wait_s: float = 10) -> Any:
    """Return an answer in chunks that waits for ``server.go_on`` after the first.

    With a ``rest`` of None it ends without the last chunk.
    """

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "audio/pcm")
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        request.wfile.write(b"%x\r\n%b\r\n" % (len(first), first))
        server.go_on.wait(wait_s)
        if rest is not None:
            request.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(rest), rest))

    return answer


def head(request: BaseHTTPRequestHandler, status: int, kind: str, length: int) -> None:
    """Send what comes before the body."""
    request.send_response(status)
    request.send_header("Content-Type", kind)
    request.send_header("Content-Length", str(length))
    request.end_headers()


@contextmanager
def speech_server() -> Iterator[SpeechServer]:
    """Run a server on a free port of 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            served.asked.append(json.loads(body) | {"path": self.path})
            served.keys.append(self.headers.get("Authorization"))
            self.close_connection = True
            served.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        served = SpeechServer(f"http://127.0.0.1:{server.server_port}/v1")
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield served
        finally:
            served.go_on.set()
            server.shutdown()
            thread.join()


def until(true: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.002)
