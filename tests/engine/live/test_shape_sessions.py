"""Sessions of a model that says how the lips stand: sound in, moved pictures out."""

import threading
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from lipstream import Avatar, LipSync, MouthModel, Worker
from lipstream.errors import ModelError
from lipstream.lips.phones import CLASSES, Phone
from lipstream.live.frame_source import PreparedAvatar
from lipstream.live.playout import closed_by
from lipstream.mouth.compositor import ShapeTarget
from lipstream.types import AvFrame, Pcm
from mouth_faces import portrait
from toys import make_toy_shape_model

RATE = 16000
PATIENCE_SECONDS = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toy_shape_model(tmp_path_factory.mktemp("shapes"))


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    face = portrait()
    return Avatar.from_frames([face.image] * 3, [face.crop] * 3, name="test")


@pytest.fixture(scope="module")
def lips(folder: Path, avatar: Avatar) -> LipSync:
    model = MouthModel.open(folder, backend="cpu", threads=1)
    return LipSync(model, PreparedAvatar.prepare(avatar, model), model.timing(RATE, 25))


def noise(seconds: float) -> Pcm:
    rng = np.random.default_rng(7)
    return (rng.normal(0, 6000, int(RATE * seconds))).clip(-32768, 32767).astype(np.int16)


def spoken(lips: LipSync, blocks: list[Pcm]) -> list[AvFrame]:
    lips.reset()
    frames = [frame for block in blocks for frame in lips.feed(block)]
    return frames + lips.flush()


def same(one: list[AvFrame], other: list[AvFrame]) -> None:
    assert [frame.start_sample for frame in one] == [frame.start_sample for frame in other]
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.image, b.image)


def test_chunked_equals_whole(lips: LipSync) -> None:
    sound = noise(0.8)
    cuts = np.sort(np.random.default_rng(3).integers(0, len(sound), 9))
    same(spoken(lips, [sound]), spoken(lips, np.split(sound, cuts)))


def test_reset_equals_fresh(lips: LipSync) -> None:
    sound = noise(0.4)
    first = spoken(lips, [sound])
    lips.reset()
    lips.feed(noise(0.3))
    same(first, spoken(lips, [sound]))


def test_an_empty_sound_has_no_frames(lips: LipSync) -> None:
    assert spoken(lips, [np.zeros(0, np.int16)]) == []


def test_the_end_of_the_stream_covers_every_sample(lips: LipSync) -> None:
    sound = noise(0.413)
    frames = spoken(lips, [sound])
    np.testing.assert_array_equal(np.concatenate([frame.pcm for frame in frames]), sound)


def test_silence_shows_the_picture_to_the_pixel(lips: LipSync, avatar: Avatar) -> None:
    for frame in spoken(lips, [np.zeros(RATE // 2, np.int16)]):
        np.testing.assert_array_equal(frame.image, avatar.frames[0])


def test_sound_opens_the_mouth(lips: LipSync, avatar: Avatar) -> None:
    loudest = spoken(lips, [noise(0.6)])[8].image.astype(int)
    assert np.abs(loudest - avatar.frames[0]).max() > 60


def test_the_lips_of_every_frame_are_told_and_come_to_rest_in_silence(lips: LipSync) -> None:
    frames = spoken(lips, [noise(0.4), np.zeros(RATE, np.int16)])
    moved = [float(np.abs(frame.measures).max()) for frame in frames if frame.measures is not None]
    assert len(moved) == len(frames)
    assert max(moved[:10]) > 1
    assert not any(moved[-10:])


def test_an_interruption_brings_the_lips_to_rest(lips: LipSync) -> None:
    frame = replace(spoken(lips, [noise(0.4)])[6], tongue_out=0.8)
    half, closed = closed_by(frame, 0.5), closed_by(frame, 0.0)
    assert frame.measures is not None
    np.testing.assert_allclose(half.measures, frame.measures / 2)
    assert half.tongue_out == pytest.approx(0.4)
    assert closed.tongue_out == 0
    assert not np.any(closed.measures)
    unseen = replace(frame, shown=frame.image)  # a picture without a face
    assert not np.any(closed_by(unseen, 0.0).measures)


def test_a_worker_makes_the_same_frames(folder: Path, avatar: Avatar, lips: LipSync) -> None:
    sound = noise(0.4)
    offline, live, done = spoken(lips, [sound]), [], threading.Event()

    def on_frame(frame: AvFrame) -> None:
        live.append(frame)
        if len(live) == len(offline):
            done.set()

    model = MouthModel.open(folder, backend="cpu", threads=1, frame_threads=2)
    with Worker(model) as worker:
        session = worker.open_session(avatar, rate=RATE, on_frame=on_frame)
        session.feed(sound)
        session.flush()
        assert done.wait(PATIENCE_SECONDS), f"{len(live)} of {len(offline)} frames came"
    same(offline, live)


def test_the_face_of_one_frame_is_carried_to_the_others(folder: Path, avatar: Avatar) -> None:
    with MouthModel.open(folder, backend="cpu", threads=1) as model:
        targets = PreparedAvatar.prepare(avatar, model).targets
    rigs = {id(one.rig) for one in targets if isinstance(one, ShapeTarget)}
    assert len(targets) == 3
    assert len(rigs) == 1


def test_a_model_of_shapes_has_no_features_of_faces(folder: Path) -> None:
    with MouthModel.open(folder, backend="cpu", threads=1) as model:
        assert model.manifest.paints == "shape"
        with pytest.raises(ModelError, match="paints no face"):
            model.face_features(np.zeros((1, 96, 96, 3), np.uint8))


def test_a_missing_part_is_named(folder: Path, tmp_path: Path) -> None:
    broken = make_toy_shape_model(tmp_path / "broken")
    (broken / "lips.onnx").unlink()
    with pytest.raises(ModelError, match=r"lips\.onnx is missing"):
        MouthModel.open(broken, backend="cpu")


def known(start_s: float, stop_s: float) -> list[Phone]:
    """An open vowel all along but for a p from one moment to another, seconds."""
    edges = [0, int(start_s * RATE), int(stop_s * RATE), 2 * RATE]
    names = ("AA", "MBP", "AA")
    return [
        Phone((CLASSES.index(name),), *pair)
        for name, pair in zip(names, pairwise(edges), strict=True)
    ]


@pytest.fixture(scope="module")
def ear(avatar: Avatar) -> LipSync:
    model = MouthModel.open(None, backend="cpu", threads=1)
    return LipSync(model, PreparedAvatar.prepare(avatar, model), model.timing(RATE, 25))


def gaps(frames: list[AvFrame]) -> list[float]:
    return [0.0 if frame.measures is None else float(frame.measures[0]) for frame in frames]


def test_lips_close_where_a_p_is_known_whatever_is_heard(ear: LipSync) -> None:
    ear.reset()
    ear.know(known(0.4, 0.52))
    with_phones = gaps(ear.feed(noise(0.8)) + ear.flush())
    assert max(with_phones[10:13]) < 0
    assert min(with_phones[2:8] + with_phones[15:]) > 0
    assert gaps(spoken(ear, [noise(0.8)])) != with_phones


def test_known_phones_do_not_hang_on_how_the_sound_is_cut(ear: LipSync) -> None:
    sound, answers = noise(0.8), []
    for cuts in ([], [700, 3000, 9001]):
        ear.reset()
        ear.know(known(0.4, 0.52))
        frames = [frame for part in np.split(sound, cuts) for frame in ear.feed(part)]
        answers.append(frames + ear.flush())
    same(*answers)


def test_reset_forgets_the_phones(ear: LipSync) -> None:
    plain = gaps(spoken(ear, [noise(0.8)]))
    ear.know(known(0.2, 0.4))
    assert gaps(spoken(ear, [noise(0.8)])) == plain
