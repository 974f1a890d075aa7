"""Prepared faces are kept: the same numbers, and never those of another face."""

import logging
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lipstream import MouthModel
from lipstream.avatar import prepare as module
from lipstream.avatar.prepare import prepare_faces
from lipstream.inference.backends import available_backends
from lipstream.live.frame_source import PreparedAvatar
from lipstream.storage import user_cache
from toys import make_toy_avatar


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return user_cache() / "faces"


@pytest.fixture
def faces():
    return np.random.default_rng(0).integers(0, 256, (9, 96, 96, 3)).astype(np.uint8)


@pytest.fixture
def computed(monkeypatch):
    """How many faces were computed, call by call."""
    counts, compute = [], MouthModel.face_features

    def face_features(self, crops):
        counts.append(len(crops))
        return compute(self, crops)

    monkeypatch.setattr(MouthModel, "face_features", face_features)
    return counts


def same(one, other):
    assert one.features.keys() == other.features.keys()
    for name, array in one.features.items():
        assert array.dtype == other.features[name].dtype
        np.testing.assert_array_equal(array, other.features[name])
    np.testing.assert_array_equal(one.silent, other.silent)


@pytest.mark.parametrize("backend", available_backends())
def test_what_was_kept_is_what_was_computed(toy_folder, faces, computed, cache, backend):
    with MouthModel.open(toy_folder, backend=backend, threads=1) as model:
        first = prepare_faces(model, faces)
    with MouthModel.open(toy_folder, backend=backend, threads=1) as model:
        second = prepare_faces(model, faces)
    assert computed == [9]
    same(first, second)
    assert len(list(cache.iterdir())) == 1


def test_a_prepared_avatar_shows_the_same_pictures(toy_folder, computed):
    avatar, mel = make_toy_avatar(9), np.zeros((1, 1, 80, 16), np.float32)
    shown = []
    for _ in range(2):
        with MouthModel.open(toy_folder, threads=1) as model:
            prepared = PreparedAvatar.prepare(avatar, model)
            pictures = [prepared.picture(k, avatar.fps) for k in range(9)]
            mouths = [model.paint_rows([mel], [one.face]).copy() for one in pictures]
            shown.append([np.concatenate(mouths), np.stack([p.target.rest for p in pictures])])
    assert computed == [9]
    for first, second in zip(*shown, strict=True):
        np.testing.assert_array_equal(first, second)


def test_other_faces_another_model_or_another_way_to_compute_share_nothing(
    toy_folder, tmp_path, faces, computed, cache
):
    other = shutil.copytree(toy_folder, tmp_path / "other")
    text, graph = (other / "model.toml").read_text(), other / "face.onnx"
    before = module.hashlib.sha256(graph.read_bytes()).hexdigest()
    with graph.open("ab") as opened:
        opened.write(b"\x12\x01x")  # producer_name = "x": the same graph by other bytes
    after = module.hashlib.sha256(graph.read_bytes()).hexdigest()
    (other / "model.toml").write_text(text.replace(before, after))
    brighter = np.minimum(faces, 254) + np.uint8(1)
    for folder, precision, shown in (
        (toy_folder, "fp32", faces),
        (toy_folder, "fp32", brighter),
        (other, "fp32", faces),
        (toy_folder, "bf16", faces),
    ):
        with MouthModel.open(folder, backend="openvino", threads=1, precision=precision) as model:
            found = prepare_faces(model, shown)
            np.testing.assert_array_equal(found.features["lower"], shown[:, 48:])
    assert computed == [9] * 4
    assert len(list(cache.iterdir())) == 4


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b"",
        lambda b: b"no pack" * 30,
        lambda b: b[:-500],
        lambda b: b[:-500] + bytes([b[-500] ^ 1]) + b[-499:],
        lambda b: b[:8] + b"\7" + b[9:],
    ],
)
def test_a_corrupt_file_is_made_anew_with_a_word(toy_model, faces, cache, caplog, damage):
    first = prepare_faces(toy_model, faces)
    path = next(cache.iterdir())
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(damage(whole))
    same(prepare_faces(toy_model, faces), first)
    assert "prepared again" in caplog.text
    assert path.read_bytes() == whole


def test_a_file_of_other_faces_under_this_name_is_not_taken(toy_model, faces, cache, caplog):
    prepare_faces(toy_model, faces[::-1])
    foreign = next(cache.iterdir())
    first = prepare_faces(toy_model, faces)
    own = next(path for path in cache.iterdir() if path != foreign)
    foreign.replace(own)
    same(prepare_faces(toy_model, faces), first)
    assert "of another model or avatar" in caplog.text


def test_a_folder_that_cannot_be_written_costs_only_time(toy_model, faces, cache, caplog):
    cache.parent.parent.write_text("a file where the folder should be")
    first = prepare_faces(toy_model, faces)
    same(prepare_faces(toy_model, faces), first)
    assert "prepared again next time" in caplog.text


def test_a_folder_that_may_only_be_read_is_read(
    toy_model, faces, cache, computed, monkeypatch, caplog
):
    first = prepare_faces(toy_model, faces)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    for name in ("utime", "mkdir", "open"):  # root, whom tests may run as, may write anywhere
        monkeypatch.setattr(module.os, name, refuse)
    same(prepare_faces(toy_model, faces), first)
    assert computed == [9]
    assert not caplog.records


def test_a_few_faces_are_not_worth_keeping(toy_model, faces, cache):
    prepare_faces(toy_model, faces[:5])
    assert not cache.exists()


def test_what_was_not_used_for_longest_makes_room(toy_model, faces, cache, monkeypatch, caplog):
    prepare_faces(toy_model, faces)
    size = next(cache.iterdir()).stat().st_size
    monkeypatch.setattr(module, "MOST_BYTES", int(2.5 * size))
    oldest = next(cache.iterdir())
    os.utime(oldest, (1, 1))
    for k in (1, 2):
        prepare_faces(toy_model, np.roll(faces, k, 0))
    assert oldest not in set(cache.iterdir())
    assert sum(path.stat().st_size for path in cache.iterdir()) <= module.MOST_BYTES
    monkeypatch.setattr(module, "MOST_BYTES", size // 2)
    with caplog.at_level(logging.INFO):
        prepare_faces(toy_model, np.roll(faces, 3, 0))
    assert "more than all may take" in caplog.text


def test_two_at_once_keep_one_whole_file(toy_folder, faces, computed, cache):
    def prepare(_):
        with MouthModel.open(toy_folder, threads=1) as model:
            return prepare_faces(model, faces)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(prepare, range(4)))
    before = len(computed)
    found.append(prepare(0))
    assert len(computed) == before
    assert len(list(cache.iterdir())) == 1, "nothing half-written stays"
    for one in found:
        same(one, found[0])


@pytest.mark.slow
def test_another_program_reads_what_this_one_kept(toy_folder, toy_model, faces, cache, tmp_path):
    prepare_faces(toy_model, faces)
    np.save(tmp_path / "faces.npy", faces)
    code = (
        "import sys, numpy as np; from pathlib import Path; from lipstream import MouthModel\n"
        "from lipstream.avatar.prepare import prepare_faces\n"
        "MouthModel.face_features = None\n"  # whoever computes fails
        "model = MouthModel.open(Path(sys.argv[1]), threads=1)\n"
        "print(prepare_faces(model, np.load(sys.argv[2])).silent.sum())"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, str(toy_folder), str(tmp_path / "faces.npy")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(said.stdout) == prepare_faces(toy_model, faces).silent.sum()
