"""The studio's subprocess: what it is told, and what it may not do."""

import asyncio
import json
import os
import resource
import subprocess
import sys

import cv2
import numpy as np
import pytest

from lipstream.errors import InputError
from lipstream.speech.openai_speech import KEY_NAME
from lipstream_server.studio.subprocess_client import environment_for, run_in_subprocess
from lipstream_server.studio.subprocess_worker import INSPECTION_MEMORY

LIMITED = """
import json, os, resource
from lipstream_server.studio.subprocess_worker import limit_self
limit_self({"task": "face"})
kinds = resource.RLIMIT_DATA, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE
status = open("/proc/self/status").read()
limits = [resource.getrlimit(kind) for kind in kinds]
print(json.dumps([limits, "NoNewPrivs:\\t1" in status, os.umask(0)]))
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


@pytest.mark.slow
def test_a_picture_of_64_megapixels_takes_bounded_memory(tmp_path):
    path = tmp_path / "large.png"
    cv2.imwrite(str(path), np.zeros((8000, 8000, 3), np.uint8), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    with pytest.raises(InputError):  # nobody's face is in it
        asyncio.run(run_in_subprocess({"task": "face", "file": str(path), "longest_s": 600}))
    after = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert max(before, after) * 1024 < INSPECTION_MEMORY
