"""Going on with a render that was stopped: nothing twice, nothing of another job."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from lipstream import MouthModel
from lipstream.film import render as render_module
from lipstream.film.checkpoint import Checkpoint
from lipstream.film.frame_renderers import open_renderer, render_timeline
from lipstream.film.plan import make_plan
from lipstream.film.render import RenderJob, render
from media_files import film_contents, tone, write_film, write_wav

RATE = 16_000


@pytest.fixture
def job(tmp_path, toy_folder, noise):
    return RenderJob(tmp_path / "film.mkv", noise, tmp_path / "out.mp4", toy_folder)


class _Killed(BaseException):
    """What a kill looks like from inside."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "killed_at", [79, *(pytest.param(at, marks=pytest.mark.slow) for at in (5, 45, 62))]
)
def test_a_render_that_was_killed_goes_on_with_the_same_frames(job, face, monkeypatch, killed_at):
    monkeypatch.setattr(render_module, "PART_FRAMES", 10)
    write_film(job.face, [np.roll(face, k % 5, 0) for k in range(40)])
    whole = render(replace(job, output=job.output.with_name("whole.mp4")))
    assert whole.resumed == 0

    def kill(done, _):
        if done == killed_at:
            raise _Killed

    with pytest.raises(_Killed):
        render(job, kill)
    assert not job.output.exists()
    resumed = render(job)
    assert resumed.resumed == max(0, (killed_at - 41) // 10 * 10)
    first, _, _ = film_contents(job.output.with_name("whole.mp4"))
    second, _, _ = film_contents(job.output)
    assert len(first) == len(second) == 40
    # x264 itself does not always encode the same pictures alike: see the test below for those
    apart = [np.abs(a.astype(int) - b).mean() for a, b in zip(first, second, strict=True)]
    assert max(apart) < 1.0
    wrong = [np.abs(a.astype(int) - b).mean() for a, b in itertools.pairwise(first)]
    assert min(wrong) > 1.5
    assert not list(job.output.parent.glob(".*"))


@pytest.mark.slow
def test_frames_taken_up_anywhere_are_those_of_the_whole_to_the_pixel(job, toy_model, face):
    write_film(job.face, [np.roll(face, k % 5, 0) for k in range(40)])
    plan = make_plan(job, toy_model)
    with Checkpoint(job.output, "x", ".mp4") as checkpoint:
        renderers = [open_renderer(plan, checkpoint, lambda: None) for _ in range(3)]
    whole = list(render_timeline(plan, renderers[0]))
    for renderer, first in zip(renderers[1:], (10, 30), strict=True):
        taken_up = list(render_timeline(plan, renderer, first))
        assert len(taken_up) == 40 - first
        assert all(np.array_equal(a, b) for a, b in zip(whole[first:], taken_up, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["cpu", "openvino"])
def test_frames_painted_on_several_threads_are_those_of_one_to_the_pixel(
    job, toy_folder, face, backend
):
    write_film(job.face, [np.roll(face, k % 5, 0) for k in range(40)])
    swelling = np.linspace(0, 1, RATE * 8 // 5) * np.random.default_rng(3).normal(0, 6000, 25_600)
    write_wav(job.sound, swelling.astype(np.int16), RATE)
    made = []
    for at_once in (1, 3):
        with (
            MouthModel.open(toy_folder, backend=backend, threads=1, frame_threads=at_once) as model,
            Checkpoint(job.output, "x", ".mp4") as checkpoint,
        ):
            plan = make_plan(job, model)
            renderer = open_renderer(plan, checkpoint, lambda: None)
            assert renderer.at_once == at_once
            made.append(list(render_timeline(plan, renderer)))
    assert all(np.array_equal(a, b) for a, b in zip(*made, strict=True))
    assert not np.array_equal(made[0][8], made[0][38])


@pytest.mark.slow
def test_the_work_of_another_job_is_not_taken_up(job, face, monkeypatch):
    monkeypatch.setattr(render_module, "PART_FRAMES", 10)
    write_film(job.face, [face] * 40)

    def kill(done, _):
        if done == 70:
            raise _Killed

    with pytest.raises(_Killed):
        render(job, kill)
    assert render(replace(job, ends="hold")).resumed == 0


@pytest.mark.slow
def test_the_work_done_with_another_model_is_not_taken_up(job, toy_pack, monkeypatch):
    monkeypatch.setattr(render_module, "PART_FRAMES", 10)
    model = Path(shutil.copytree(job.model, job.output.parent / "model"))
    asked = replace(job, face=toy_pack, model=model)

    def kill(done, _):
        if done == 25:
            raise _Killed

    for changed_to, resumed in (("", 20), ("# exported again\n", 0)):
        with pytest.raises(_Killed):
            render(asked, kill)
        with (model / "model.toml").open("a") as manifest:
            manifest.write(changed_to)
        assert render(asked).resumed == resumed


@pytest.mark.slow
def test_kill_9_and_the_same_command_again_finish_the_film(job, face):
    write_film(job.face, [np.roll(face, k % 5, 0) for k in range(100)])
    long = write_wav(job.output.parent / "long.wav", tone(RATE, 22 * RATE), RATE)
    words = [str(w) for w in ("render", job.face, long, "--model", job.model, "-o")]
    command = [sys.executable, "-m", "lipstream", *words]
    started = subprocess.Popen([*command, str(job.output)])
    part = job.output.parent / f".{job.output.name}.work" / "000000.mp4"
    while not part.exists() and started.poll() is None:
        time.sleep(0.02)
    os.kill(started.pid, signal.SIGKILL)
    assert started.wait() == -signal.SIGKILL
    assert not job.output.exists()
    again = subprocess.run([*command, str(job.output)], capture_output=True, text=True, check=True)
    assert "frames were there from an earlier run" in again.stdout
    whole = job.output.with_name("whole.mp4")
    subprocess.run([*command, str(whole)], check=True)
    for a, b in zip(_decoded(job.output), _decoded(whole), strict=True):
        assert np.abs(a.astype(int) - b).mean() < 1.0


def _decoded(path: Path):
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray()
