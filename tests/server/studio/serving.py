"""A studio behind real HTTP, and a visitor who asks it for things."""

import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from lipstream_server.app import Routes
from lipstream_server.auth import AccessRules
from lipstream_server.command import bind, listen
from lipstream_server.config import ServerConfig, StudioConfig
from lipstream_server.http_server import HttpServer
from lipstream_server.webrtc.peer import PeerSessions

PATIENCE_SECONDS = 240.0
OVER = {"done", "failed", "cancelled"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def said(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return self.said["error"]


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who uses a studio."""

    url: str
    folder: Path
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, body, self.headers | named, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
                return Answer(answer.status, dict(answer.headers), answer.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, dict(error.headers), error.read())

    def post(self, path: str, **content: Any) -> Answer:
        body = json.dumps(content).encode()
        return self.ask("POST", path, body, Content_Type="application/json")

    def send(self, use: str, content: bytes | Path, name: str = "") -> Answer:
        if isinstance(content, Path):
            name, content = name or content.name, content.read_bytes()
        query = urllib.parse.urlencode({"use": use, "name": name})
        kind = {"Content_Type": "application/octet-stream"}
        return self.ask("POST", f"/studio/media?{query}", content, **kind)

    def added(self, use: str, path: Path) -> str:
        answer = self.send(use, path)
        assert answer.status == 201, answer.body
        return answer.said["id"]

    def order(self, face: dict[str, str], *speech: dict[str, Any], **more: Any) -> Answer:
        return self.post("/studio/jobs", face=face, speech=list(speech), **more)

    def job(self, name: str) -> dict[str, Any]:
        return self.ask("GET", f"/studio/jobs/{name}").said

    def wait(self, name: str, states: set[str] = OVER) -> dict[str, Any]:
        """Wait until a film is in one of the states."""
        until(lambda: self.job(name)["state"] in states)
        return self.job(name)

    def kept(self, kind: str) -> list[str]:
        """Names of what lies in the studio's folder, hidden things included."""
        return sorted(path.name for path in (self.folder / kind).glob("*"))


def until(true: Callable[[], Any]) -> None:
    """Wait until something holds, leaving the processor to those who make it so."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < end, "it never came to pass"
        time.sleep(0.05)


@contextmanager
def serving(
    worker, avatar, config: StudioConfig, *, token: str | None = None
) -> Generator[Visitor]:
    """Serve a studio on a free port, in a thread."""
    routes = Routes(
        PeerSessions(worker, avatar),
        ServerConfig(studio=config),
        rules=AccessRules(token),
        loopback=True,
    )
    with closing(bind("127.0.0.1", 0)) as listener:
        settings = uvicorn.Config(routes.app(), log_config=None, access_log=False)
        server = HttpServer(settings, sessions=4)
        listen(listener)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            port = listener.getsockname()[1]
            yield Visitor(f"http://127.0.0.1:{port}", config.folder, headers)
        finally:
            server.stop()
            thread.join()
