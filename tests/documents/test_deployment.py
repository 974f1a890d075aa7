"""What the deployment page sets up around a server, with the real programs."""

import asyncio
import shutil
import socket
import subprocess
import urllib.request
from contextlib import closing, contextmanager

import pytest

from documents.markdown import blocks
from lipstream import MouthModel, Worker
from lipstream_clients.stage_client import StageClient
from media_files import tone
from server.peers import port_of, running

PAGE = "docs/deployment.md"
TOKEN = "correct horse battery staple"
NGINX = """
daemon off;
error_log stderr;
pid {folder}/nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {once}
    server {{
        listen 127.0.0.1:{port};
        {location}
    }}
}}
"""


def snippets(language):
    return [block.text for block in blocks(language) if block.document == PAGE]


def free_port(kind=socket.SOCK_STREAM):
    with closing(socket.socket(socket.AF_INET, kind)) as probe:
        probe.bind(("127.0.0.1", 0))
        return port_of(probe)


@contextmanager
def nginx_before(url, folder):
    """Run the page's nginx before a server; yields its address."""
    location, once = snippets("nginx")
    location = location.replace("http://127.0.0.1:8080", url)
    port = free_port()
    settings = folder / "nginx.conf"
    settings.write_text(NGINX.format(folder=folder, port=port, location=location, once=once))
    with subprocess.Popen(["nginx", "-p", folder, "-c", settings]) as proxy:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            proxy.terminate()


def status_of(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.status


async def answered(url):
    async with asyncio.timeout(20):
        while True:
            try:
                return await asyncio.to_thread(status_of, url)
            except OSError:
                await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx: apt install nginx")
def test_a_backend_speaks_through_the_proxy(toy_folder, toy_avatar, tmp_path):
    async def talk(worker):
        async with running(worker, toy_avatar, token=TOKEN) as server:
            with nginx_before(server.url, tmp_path) as url:
                assert await answered(f"{url}/healthz") == 200
                async with StageClient(url, "hall", token=TOKEN) as stage:
                    await stage.say(tone(24_000, 9600), 24_000, "a")
                    async with asyncio.timeout(20):
                        async for event in stage:
                            if event["type"] == "ended":
                                return event

    with Worker(MouthModel.open(toy_folder, threads=1)) as worker:
        ended = asyncio.run(talk(worker))
    assert ended["heard_ms"] == pytest.approx(400, abs=1)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("turnserver") is None, reason="no coturn: apt install coturn")
def test_coturn_understands_every_line(tmp_path):
    (text,) = snippets("ini")
    settings = tmp_path / "turnserver.conf"
    settings.write_text(text)
    port = free_port(socket.SOCK_DGRAM)
    words = ["-c", settings, "-L", "127.0.0.1", "-E", "127.0.0.1", "-p", str(port), "--no-cli"]
    words += ["--no-tls", "--no-dtls", "--log-file=stdout", f"--pidfile={tmp_path / 'pid'}"]
    with subprocess.Popen(
        ["turnserver", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        try:
            with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as asking:
                asking.settimeout(0.3)
                for _ in range(50):
                    asking.sendto(
                        bytes.fromhex("000100002112a442") + bytes(12), ("127.0.0.1", port)
                    )
                    try:
                        assert asking.recv(2000)[:2] == b"\x01\x01"
                        break
                    except OSError:
                        continue
                else:
                    pytest.fail("coturn did not answer")
        finally:
            server.terminate()
            said = server.stdout.read()
    assert "Bad configuration" not in said
    assert "Default realm: lipstream" in said
