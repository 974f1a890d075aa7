"""Voices that need nothing installed, a network of Piper's form, and a real HTTP server of
OpenAI's."""

import json
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lipstream.speech import Mark, SpeechChunk

RATE = 24_000
HOP = 256
SYMBOLS = "_^$ .,?!:;həlˈoʊwɜːdaɪfɹɛnmuipˌ"
"""Of the toy of Piper's form: samples of a hop, and the symbols that it knows."""


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


def read_form(kind: str, body: bytes) -> dict[str, Any]:
    """Read ``multipart/form-data``: text by name, and a file as its bytes."""
    message = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    fields: dict[str, Any] = {}
    for part in message.get_payload():
        told = part.get_params(header="Content-Disposition")
        sound = part.get_payload(decode=True)
        fields[dict(told)["name"]] = sound if part.get_filename() else sound.decode()
    return fields


@contextmanager
def speech_server() -> Generator[SpeechServer]:
    """Run a server on a free port of 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kind = self.headers["Content-Type"]
            fields = json.loads(body) if kind == "application/json" else read_form(kind, body)
            served.asked.append(fields | {"path": self.path})
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


def write_toy_voice(path: Path, *, lengths: bool = True, speakers: int = 1) -> Path:
    """Write a network that hums 3 hops for each number it is given, times the length scale."""
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto

    def constant(name: str, value: object, kind: type) -> object:
        return onnx.numpy_helper.from_array(np.array(value, kind), name)

    each = "/Ceil_output_0" if lengths else "each"
    nodes = [
        helper.make_node("Cast", ["input"], ["numbers"], to=kinds.FLOAT),
        helper.make_node("Mul", ["numbers", "nothing"], ["zeros"]),
        helper.make_node("Gather", ["scales", "second"], ["scale"], axis=0),
        helper.make_node("Mul", ["scale", "three"], ["hops"]),
        helper.make_node("Add", ["zeros", "hops"], ["long"]),
        helper.make_node("Ceil", ["long"], [each]),
        helper.make_node("ReduceSum", [each], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "hop"], ["samples"]),
        helper.make_node("Range", ["none", "samples", "one"], ["times"]),
        helper.make_node("Mul", ["times", "pitch"], ["phase"]),
        helper.make_node("Sin", ["phase"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["output"]),
    ]
    constants = [
        *(constant(n, v, np.float32) for n, v in (("nothing", 0), ("three", 3), ("none", 0))),
        *(constant(n, v, np.float32) for n, v in (("one", 1), ("hop", HOP), ("pitch", 0.05))),
        constant("second", 1, np.int64),
        constant("shape", [1, 1, -1], np.int64),
    ]
    inputs = [
        helper.make_tensor_value_info("input", kinds.INT64, [1, "n"]),
        helper.make_tensor_value_info("input_lengths", kinds.INT64, [1]),
        helper.make_tensor_value_info("scales", kinds.FLOAT, [3]),
    ]
    if speakers > 1:
        inputs.append(helper.make_tensor_value_info("sid", kinds.INT64, [1]))
    output = helper.make_tensor_value_info("output", kinds.FLOAT, [1, 1, "samples"])
    graph = helper.make_graph(nodes, "hum", inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    settings = {
        "audio": {"sample_rate": 16_000},
        "espeak": {"voice": "en-us"},
        "inference": {"noise_scale": 0.6, "length_scale": 1.0, "noise_w": 0.8},
        "language": {"code": "en_US", "name_english": "English"},
        "phoneme_id_map": {symbol: [number] for number, symbol in enumerate(SYMBOLS)},
        "num_speakers": speakers,
        "speaker_id_map": {f"p{n}": n for n in range(speakers)} if speakers > 1 else {},
    }
    path.with_name(path.name + ".json").write_text(json.dumps(settings))
    return path
