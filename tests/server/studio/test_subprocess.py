"""The studio's subprocess: what it is told, and what it may not do."""

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from lipstream.media.pictures import read_picture
from lipstream.speech.openai_speech import KEY_NAME
from lipstream_server.studio.runner import environment_for
from lipstream_server.studio.subprocess_worker import INSPECTION_MEMORY, niceness_of

LIMITED = """
import json, os, resource
from lipstream_server.studio.subprocess_worker import limit_self
limit_self({"task": "face"})
kinds = resource.RLIMIT_DATA, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE
status = open("/proc/self/status").read()
limits = [resource.getrlimit(kind) for kind in kinds]
print(json.dumps([limits, "NoNewPrivs:\\t1" in status, os.umask(0)]))
"""

MEASURED = """
import asyncio, resource, sys
from lipstream.errors import InputError
from lipstream_server.studio.runner import run_in_subprocess
request = {"task": "face", "file": sys.argv[1], "longest_s": 600}
try:
    asyncio.run(run_in_subprocess(request))
except InputError as error:
    assert "no face found" in str(error), error
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def test_a_subprocess_is_told_no_secrets(monkeypatch):
    monkeypatch.setenv("LIPSTREAM_TOKEN", "open sesame")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv(KEY_NAME, "key")
    for task in ("face", "sound", "film", "avatar"):
        told = environment_for(task)
        assert not {"LIPSTREAM_TOKEN", "AWS_SECRET_ACCESS_KEY", KEY_NAME} & told.keys()
        assert told["PATH"] == os.environ["PATH"]
    assert environment_for("speak")[KEY_NAME] == "key"
    assert "LIPSTREAM_TOKEN" not in environment_for("speak")


@pytest.mark.slow
def test_an_inspection_is_limited_and_gains_no_privileges():
    out = subprocess.run(
        [sys.executable, "-c", LIMITED], capture_output=True, text=True, check=True
    )
    limits, no_new_privileges, mask = json.loads(out.stdout)
    assert all(0 <= soft == hard for soft, hard in limits)
    assert limits[0][0] <= INSPECTION_MEMORY
    assert limits[3] == [0, 0]
    assert no_new_privileges
    assert mask == 0o077


def test_somebody_waits_for_a_preview_and_not_for_a_film():
    film = {"task": "film", "preview": False}
    assert (
        niceness_of(film) > niceness_of(film | {"preview": True}) == niceness_of({"task": "face"})
    )


@pytest.mark.slow
@pytest.mark.parametrize("channels", [3, 4])
def test_a_picture_of_64_megapixels_takes_less_than_600_megabytes(tmp_path, channels):
    path = tmp_path / "large.png"
    fast = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    cv2.imwrite(str(path), np.zeros((8000, 8000, channels), np.uint8), fast)
    out = subprocess.run([sys.executable, "-c", MEASURED, path], capture_output=True, check=True)
    megabytes = int(out.stdout) / 1024
    assert 100 < megabytes < 600


@pytest.mark.parametrize("channels", [3, 4])
def test_large_pictures_are_read_as_small_ones_are(tmp_path, channels):
    image = np.random.default_rng(5).integers(0, 256, (150, 37, channels), np.uint8)
    path = tmp_path / "small.png"
    cv2.imwrite(str(path), image)
    expected = image[..., :3].astype(int)
    if channels == 4:
        alpha = image[..., 3:].astype(int)
        expected = (expected * alpha + 200 * (255 - alpha) + 127) // 255
    np.testing.assert_array_equal(read_picture(path), expected)
