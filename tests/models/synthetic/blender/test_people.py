import importlib.util

import numpy as np
import pytest

from lipstream.errors import InputError

pytest.importorskip("scipy", reason="the portrait's mesh needs scipy")

from lipstream_models.synthetic.blender.hair import Brows, Surface, Whiskers, cropped, tied
from lipstream_models.synthetic.body.appearance import (
    PEOPLE,
    Appearance,
    Beard,
    BrowStyle,
    Crop,
    Relief,
    Tied,
    person_named,
)
from lipstream_models.synthetic.body.head_model import VISEMES, HeadSource
from lipstream_models.synthetic.body.mesh import normals
from lipstream_models.synthetic.body.skin import (
    beard_density,
    brow_density,
    hairline,
    relief,
    scalp_cover,
)
from lipstream_models.synthetic.body.teeth_and_eyes import grid_quads


def ball() -> Surface:
    """Return a ball where the base head is, as wide and high as a head."""
    rows, columns = 60, 80
    polar, turn = np.meshgrid(
        np.linspace(0.01, np.pi - 0.01, rows), np.linspace(0, 2 * np.pi, columns, endpoint=False),
        indexing="ij",
    )  # fmt: skip
    unit = [np.sin(polar) * np.sin(turn), np.cos(polar), np.sin(polar) * np.cos(turn)]
    points = np.stack(unit, -1).reshape(-1, 3) * [0.82, 1.2, 1.2] + [0.0, 7.3, 0.3]
    quads = grid_quads(rows, columns, wrap=True)
    out = normals(points, quads)
    out *= np.sign(((points - [0.0, 7.3, 0.3]) * out).sum(1, keepdims=True))
    return Surface(points, out, quads, points)


FACE = np.random.default_rng(0).uniform((-0.9, 5.9, 0.3), (0.9, 8.5, 1.7), (4000, 3))


@pytest.fixture(scope="module")
def source() -> HeadSource:
    if importlib.util.find_spec("anny") is None:
        pytest.skip("the head model (pip install anny) is not installed")
    return HeadSource()


@pytest.mark.parametrize("name", sorted(PEOPLE))
def test_every_person_is_made_of_shapes_and_units_that_there_are(
    source: HeadSource, name: str
) -> None:
    appearance = person_named(name)
    shape = source.shape(appearance.identity)
    assert np.isfinite(
        source.pose(shape, {unit: abs(w) for unit, w in appearance.manner.items()})
    ).all()


def test_people_differ_in_sex_age_and_origin() -> None:
    heads = [appearance.identity for appearance in PEOPLE.values()]
    assert {round(head.gender) for head in heads} == {0, 1}
    assert len({head.age for head in heads}) == len(heads)
    assert max(head.asian for head in heads) > 0.9 > 0.5 > min(head.asian for head in heads)


def test_an_unknown_person_is_told_who_there_is() -> None:
    with pytest.raises(InputError, match="ada, mei, omar"):
        person_named("nobody")


def test_manner_leaves_room_for_speech() -> None:
    lips = {unit for shape in VISEMES.values() for unit in shape}
    for appearance in PEOPLE.values():
        assert all(abs(w) <= 0.15 for unit, w in appearance.manner.items() if unit in lips)


def test_a_beard_leaves_lips_eyes_and_forehead_bare() -> None:
    lips = (np.abs(FACE[:, 1] - 6.6) < 0.03).astype(float)
    density = beard_density(FACE, lips)
    assert density.max() > 0.8
    assert density[(lips > 0) | (FACE[:, 1] > 7.3)].max() == 0


def test_hair_that_recedes_leaves_the_temples_and_nothing_else() -> None:
    lost = hairline(FACE) - hairline(FACE, 0.2)
    assert lost.max() > 0.15
    assert np.abs(lost[FACE[:, 2] < 0.5]).max() == 0
    assert (scalp_cover(FACE, 0.2) <= scalp_cover(FACE)).all()


def test_a_wider_brow_covers_more() -> None:
    wide, thin = (brow_density(FACE, BrowStyle(width=w)).sum() for w in (1.4, 0.7))
    assert wide > 1.3 * thin


def test_relief_is_shallow_and_keeps_the_lips_smooth() -> None:
    height = relief(FACE, Relief(0.007, 0.006, 0.004, 0.012))
    assert 0.004 < np.abs(height).max() < 0.05
    lips = (np.abs(FACE[:, 1] - 6.6) < 0.05) & (np.abs(FACE[:, 0]) < 0.2) & (FACE[:, 2] > 1.4)
    assert np.abs(height[lips]).max() < 0.006
    assert relief(FACE, Relief()).max() == 0


def test_short_hair_is_short_and_stands_off_the_head() -> None:
    skin, cut = ball(), Crop(length=0.14)
    hair = cropped(skin, cut, 400, 0)
    assert 50 < len(hair.points) <= 400
    reach = np.linalg.norm(hair.points[:, -1] - hair.points[:, 0], axis=1)
    assert reach.max() < 1.3 * cut.length
    middle = np.array([0.0, 7.3, 0.3])
    out = np.linalg.norm((hair.points - middle) / [0.82, 1.2, 1.2], axis=2)
    assert (out[:, 3] > out[:, 0]).mean() > 0.9


def test_tied_hair_runs_back_over_a_head_wherever_it_is() -> None:
    skin, cut = ball(), Tied(count=300, loose=10, locks=0)
    hair = tied(skin, cut).points
    assert (hair[:, -1, 2] < hair[:, 0, 2]).mean() > 0.8
    lower = Surface(skin.points - [0, 1.5, 0], skin.normals, skin.quads, skin.places)
    apart = tied(lower, cut).points - hair + np.array([0, 1.5, 0])
    assert np.abs(apart).mean() < 0.05  # clumps fall otherwise, the way is the same


def test_whiskers_and_brows_move_with_the_skin() -> None:
    skin = ball()
    lips = np.zeros(len(skin.points))
    moved = Surface(skin.points - np.array([0, 0.1, 0]), skin.normals, skin.quads, skin.places)
    beard = Whiskers(skin, lips, Beard(length=0.03), 60, 1)
    brows = Brows(skin, BrowStyle(), 40)
    for grower in (beard, brows):
        drop = grower.strands(moved).points - grower.strands(skin).points
        assert drop == pytest.approx(np.broadcast_to([0, -0.1, 0], drop.shape), abs=1e-6)


def test_no_whisker_grows_inside_the_mouth() -> None:
    skin = ball()
    beard = Whiskers(skin, np.zeros(len(skin.points)), Beard(length=0.03), 60, 1)
    before = beard.strands(skin).points
    inside = (skin.points[:, 0] > 0).astype(float)
    beard.drop(inside)
    after = beard.strands(skin).points
    assert 0 < len(after) < len(before)
    kept = {tuple(root) for root in before[:, 0].round(9).tolist()}
    assert all(tuple(root) in kept for root in after[:, 0].round(9).tolist())


def test_a_look_is_a_value() -> None:
    assert Appearance(PEOPLE["ada"].identity) == PEOPLE["ada"]
