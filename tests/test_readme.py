"""Every snippet and command in the README does what the README says."""

import re
import shlex
import subprocess
import sys
import wave
from pathlib import Path

import cv2
import numpy as np
import pytest

from lipstream import Avatar
from lipstream.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
ELSEWHERE = {
    "serve": "tests/browser",
    "window": "tests/clients/window",
    "export": "tests/export",
    "train": "tests/models",
    "evaluate": "tests/models",
}


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


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", "\n".join(blocks("sh")), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


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


def test_every_command_is_known_and_run_somewhere():
    named = {command.split()[1] for command in commands()}
    assert named == set(COMMANDS)
    assert all((ROOT / place).exists() for place in ELSEWHERE.values())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("readme")
    cv2.imwrite(str(path / "face.png"), Avatar.open().frames[0])
    sound = np.random.default_rng(1).standard_normal(16_000) * 3000
    with wave.open(str(path / "speech.wav"), "wb") as clip:
        clip.setparams((1, 2, 16_000, 0, "NONE", ""))
        clip.writeframes(sound.astype(np.int16).tobytes())
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [c for c in commands() if c.split()[1] not in ELSEWHERE], ids=lambda c: c[10:40]
)
def test_the_command_runs(command, folder):
    words = shlex.split(command)[1:]
    if words[0] == "bench":
        words += ["--seconds", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "lipstream.cli", *words],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    wanted = re.search(r"-o (\S+)", command)
    if wanted:
        assert (folder / wanted[1]).stat().st_size > 1000
