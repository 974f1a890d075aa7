"""Every snippet and command in the README does what the README says."""

import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
import wave
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from golden.seeded_state import seeded_state
from lipstream import Avatar
from lipstream.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")
LIPSTREAM = [sys.executable, "-m", "lipstream"]
WITHOUT_HARDWARE = {
    "bench": ["--seconds", "2"],
    "window": ["--input", "speech.wav", "--no-sound"],  # no microphone and no loudspeaker
    "serve": ["--port", "0"],
    "train": ["--help"],  # these two name what they do; what that is, tests/models runs
    "evaluate": ["--help"],
}
"""What is added to a command so that it ends, and runs where there is nothing but a processor."""


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands():
    """Every ``lipstream ...`` in the table and the shell blocks, alternatives spelled out."""
    table = re.findall(r"^\| (`lipstream.*?) \| ", README, re.MULTILINE)
    for row in table:
        first, *others = re.findall(r"`(.+?)`", row)
        words = first.split()
        yield first
        yield from (o if o.startswith("lipstream") else " ".join([*words[:-1], o]) for o in others)
    for block in blocks("sh"):
        yield from (
            line.split(" #")[0].strip()
            for line in block.splitlines()
            if line.startswith("lipstream")
        )


def test_make_knows_its_targets():
    targets = re.findall(r"^make (\w+)", "\n".join(blocks("sh")), re.MULTILINE)
    assert targets
    dry = subprocess.run(
        ["make", "-n", *targets], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert dry.returncode == 0, dry.stderr


def test_links_and_pictures_exist():
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / path).exists(), path


def test_the_python_snippet_runs_on_the_embedded_model():
    shown = []
    (snippet,) = blocks("python")
    pcm = (np.random.default_rng(0).standard_normal(20_000) * 3000).astype(np.int16)
    exec(
        snippet, {"pcm": pcm, "show": lambda image, heard: shown.append((image.shape, len(heard)))}
    )
    assert len(shown) == 32
    assert {shape for shape, _ in shown} == {(512, 512, 3)}
    assert sum(heard for _, heard in shown) == 20_000


def test_every_command_is_shown():
    assert {command.split()[1] for command in commands()} == set(COMMANDS)


def write_noise(path, seed):
    sound = np.random.default_rng(seed).standard_normal(32_000) * 3000
    with wave.open(str(path), "wb") as clip:
        clip.setparams((1, 2, 16_000, 0, "NONE", ""))
        clip.writeframes(sound.astype(np.int16).tobytes())


def run(words, folder, **environment):
    done = subprocess.run(
        [*LIPSTREAM, *words],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the README's reader has: a picture, a sound, weights, and films of talking people."""
    path = tmp_path_factory.mktemp("readme")
    cv2.imwrite(str(path / "face.png"), Avatar.open().frames[0])
    write_noise(path / "speech.wav", 1)
    state = {f"module.{k}": torch.from_numpy(v) for k, v in seeded_state("wav2lip").items()}
    for name in ("wav2lip.pth", "wav2lip_gan.pth"):
        torch.save({"state_dict": state}, path / name)
    return path


@pytest.fixture(scope="module")
def films(folder):
    (folder / "FOLDER").mkdir()
    for seed, name in enumerate(("ada", "mei"), 2):
        write_noise(folder / f"{name}.wav", seed)
        run(["render", name, f"{name}.wav", "-o", f"FOLDER/{name}.mp4"], folder)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "command", [c for c in commands() if c.split()[1] != "serve"], ids=lambda c: c[10:50]
)
def test_the_command_runs(command, folder, request):
    if "FOLDER" in command:
        request.getfixturevalue("films")
    words = shlex.split(command)[1:]
    run([*words, *WITHOUT_HARDWARE.get(words[0], [])], folder, SDL_VIDEODRIVER="dummy")
    wanted = re.search(r"-o (\S+)", command)
    if wanted:
        made = folder / wanted[1]
        assert (made / "model.toml" if made.is_dir() else made).stat().st_size > 500


@pytest.mark.slow
@pytest.mark.parametrize("command", [c for c in commands() if c.split()[1] == "serve"])
def test_the_server_starts_and_ends(command, folder):
    words = [*shlex.split(command)[1:], *WITHOUT_HARDWARE["serve"]]
    server = subprocess.Popen([*LIPSTREAM, *words], cwd=folder, stdout=subprocess.PIPE, text=True)
    with server:
        try:
            url = re.search(r"http://\S+", server.stdout.readline()).group()
            with urllib.request.urlopen(f"{url}/healthz", timeout=30) as answer:
                assert answer.status == 200
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(30) == 0
