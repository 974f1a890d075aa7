"""What is published: an sdist and a wheel, and what they do where nothing else of ours is."""

import email
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections import defaultdict
from pathlib import Path

import pytest

pytest.importorskip("hatchling")

ROOT = Path(__file__).resolve().parents[2]
LARGEST_WHEEL = 31_000_000
PYTHONS = ("3.11", "3.12", "3.13")
CONSUMER = """
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lipstream import Avatar, AvFrame, LipSync, LipstreamError, MouthModel, Options, Worker


def pictures(pcm: NDArray[np.int16]) -> list[NDArray[np.uint8]]:
    with LipSync.open(avatar="ada") as lips:
        frames: list[AvFrame] = [*lips.feed(pcm), *lips.flush()]
    return [frame.image for frame in frames]


def refused(path: Path) -> str:
    try:
        avatar: Avatar = Avatar.open(path)
    except LipstreamError as error:
        return str(error)
    with MouthModel.open() as model, Worker(model, capacity=1) as worker:
        worker.prepare(avatar)
    return avatar.name
"""
WHEP = """
import asyncio, sys, urllib.parse, urllib.request
from aiortc import RTCPeerConnection, RTCSessionDescription

async def main(url):
    peer = RTCPeerConnection()
    for kind in ("audio", "video"):
        peer.addTransceiver(kind, "recvonly")
    await peer.setLocalDescription(await peer.createOffer())
    offer = peer.localDescription.sdp.encode()
    asked = urllib.request.Request(url + "/whep", offer, {"Content-Type": "application/sdp"})
    answer = await asyncio.to_thread(urllib.request.urlopen, asked)
    assert answer.status == 201
    await peer.setRemoteDescription(RTCSessionDescription(answer.read().decode(), "answer"))
    tracks = {r.track.kind: r.track for r in peer.getReceivers()}
    for kind, count in (("video", 25), ("audio", 50)):
        for _ in range(count):
            frame = await asyncio.wait_for(tracks[kind].recv(), 20)
    print(frame.sample_rate)
    session = urllib.parse.urljoin(url + "/whep", answer.headers["Location"])
    ended = urllib.request.Request(session, method="DELETE")
    assert (await asyncio.to_thread(urllib.request.urlopen, ended)).status in (200, 204)
    await peer.close()

asyncio.run(main(sys.argv[1]))
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build an sdist of what git lists, and a wheel from the sdist alone."""
    folder = tmp_path_factory.mktemp("built")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("the sources are not a git repository")
    source = folder / "source"
    for name in filter(None, listed.stdout.split("\n")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    build = [sys.executable, "-m", "hatchling", "build", "-d", str(folder), "-t"]
    subprocess.run([*build, "sdist"], check=True, cwd=source, capture_output=True)
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as packed:
        packed.extractall(folder / "unpacked")  # ours; Python before 3.11.4 knows no filter
    (unpacked,) = (folder / "unpacked").iterdir()
    subprocess.run([*build, "wheel"], check=True, cwd=unpacked, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return sdist, wheel


def test_the_wheel_is_small_and_holds_no_byte_twice(built):
    _, wheel = built
    assert wheel.stat().st_size <= LARGEST_WHEEL
    holders = defaultdict(list)
    with zipfile.ZipFile(wheel) as packed:
        for entry in packed.infolist():
            if entry.file_size > 1000:
                holders[hashlib.sha256(packed.read(entry)).hexdigest()].append(entry.filename)
    assert [names for names in holders.values() if len(names) > 1] == []


def test_the_wheel_holds_no_file_of_training_and_every_package_is_typed(built):
    _, wheel = built
    names = zipfile.ZipFile(wheel).namelist()
    assert [n for n in names if n.endswith((".pt", ".pth", ".ckpt"))] == []
    assert not {n.split("/")[0] for n in names} & {"tests", "docs", "bench", "models"}
    packages = {n.split("/")[0] for n in names if n.endswith("/__init__.py")}
    assert {n for n in packages if f"{n}/py.typed" not in names} == set()


def test_the_page_of_the_package_leads_everywhere_by_absolute_addresses(built):
    _, wheel = built
    with zipfile.ZipFile(wheel) as packed:
        (name,) = (n for n in packed.namelist() if n.endswith("/METADATA"))
        page = email.message_from_bytes(packed.read(name))
    text = page.get_payload()
    links = re.findall(r"\]\(([^)\s]+)", text)
    assert links
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
    assert {"Homepage", "Source", "Documentation", "Changelog", "Issues"} == {
        entry.split(",")[0] for entry in page.get_all("Project-URL")
    }
    bounded = [one for one in page.get_all("Requires-Dist") if re.search(r"<\s*\d", one)]
    assert bounded == []  # what comes next must not be locked out


def interpreter(version):
    """Return a CPython of a version, or skip."""
    named = shutil.which(f"python{version}")
    folder = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [Path(named)] if named else []
    found += sorted(folder.glob(f"{version}.*/bin/python{version}"))
    for path in found:
        asked = subprocess.run(
            [path, "-c", "import ensurepip, venv"], capture_output=True, check=False
        )
        if asked.returncode == 0:
            return path
    pytest.skip(f"there is no CPython {version} here")


def install(python, *wanted):
    """Install packages with pip, or skip where no index answers."""
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and re.search(r"connection|timed out|resolution", done.stderr, re.I):
        pytest.skip("the package index does not answer")
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module", params=PYTHONS)
def clean(request, built, tmp_path_factory):
    """Return the Python of an environment that holds the wheel and what its base needs, no more."""
    folder = tmp_path_factory.mktemp(f"python{request.param}")
    subprocess.run([interpreter(request.param), "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    install(python, built[1])
    return python


def in_clean(python, *words, **options):
    """Run a command where neither our sources nor our environment are seen."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return subprocess.run(
        [python, "-I", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=python.parent,
        env={**kept, "HOME": str(python.parents[1])},
        **options,
    )


@pytest.mark.timeout(900)
def test_the_wheel_runs_in_a_clean_environment(clean, built):
    doctor = in_clean(clean, "-m", "lipstream", "doctor")
    assert doctor.returncode == 0, doctor.stderr
    assert "broken" not in doctor.stdout
    film = clean.parent / "hello.mp4"
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed")
    words = ("render", "ada", "--text", "hello", "-o", film)
    rendered = in_clean(clean, "-m", "lipstream", *words)
    assert rendered.returncode == 0, rendered.stderr
    assert film.stat().st_size > 5000

    refused = in_clean(clean, "-m", "lipstream", "serve", "--port", "0")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "pip install 'lipstream[serve]'" in refused.stderr

    install(clean, f"lipstream[serve] @ {built[1].as_uri()}")
    kept = {"PATH": os.environ["PATH"], "HOME": str(clean.parents[1])}
    serve = [clean, "-I", "-m", "lipstream", "serve", "--port", "0"]
    server = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True, env=kept, cwd=clean.parent)
    with server:
        try:
            url = re.search(r"http://\S+", server.stdout.readline()).group()
            watched = in_clean(clean, "-c", WHEP, url)
            assert watched.returncode == 0, watched.stderr
            assert watched.stdout.strip() == "48000"
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(30) == 0


@pytest.mark.timeout(600)
def test_a_consumers_file_passes_mypy_strict(clean, tmp_path):
    pytest.importorskip("mypy")
    consumer = tmp_path / "consumer.py"
    consumer.write_text(CONSUMER)
    checked = subprocess.run(
        [sys.executable, "-I", "-m", "mypy", "--strict", "--python-executable", clean, consumer],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert checked.returncode == 0, checked.stdout
