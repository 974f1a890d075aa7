import dataclasses
from pathlib import Path

import pytest

from lipstream.errors import InputError
from lipstream_models.synthetic.describe import sampling
from lipstream_models.synthetic.describe.vocabulary import TOPICS, word_rows
from lipstream_models.synthetic.describe.words import Description, Years, read_description


def said(text: str) -> dict[str, object]:
    """Return the fields that a description gives."""
    values = dataclasses.asdict(read_description(text))
    return {name: value for name, value in values.items() if value is not None}


def complaint(text: str) -> str:
    with pytest.raises(InputError) as caught:
        read_description(text)
    return str(caught.value)


OLD = dataclasses.asdict(Years(65, 85))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("an old woman with a headscarf", {"age": OLD, "sex": "woman", "headwear": "headscarf"}),
        (
            "a smiling black man with short hair",
            {"mood": "smiling", "origin": "african", "sex": "man", "hair_length": "short"},
        ),
        (
            "an Indian gentleman with a moustache and glasses",
            {"origin": "south asian", "sex": "man", "beard": "moustache", "glasses": "yes"},
        ),
        ("a granny", {"age": OLD, "sex": "woman"}),
        ("somebody", {}),
        ("a man, bald", {"sex": "man", "hair_length": "bald"}),
        ("a lady with a warm smile", {"sex": "woman", "mood": "smiling"}),
        (
            "a man in a light blue shirt, on a dark green wall",
            {"sex": "man", "clothes": "shirt", "clothes_colour": "light blue",
             "background": "dark green"},
        ),
    ],
)  # fmt: skip
def test_plain_descriptions_are_understood(text: str, values: dict[str, object]) -> None:
    assert said(text) == values


def test_words_speak_of_the_noun_behind_them() -> None:
    assert said("a black man with white hair, blue eyes and a grey beard") == {
        "origin": "african",
        "sex": "man",
        "hair_colour": "white",
        "eyes": "blue",
        "beard": "full",
        "beard_colour": "grey",
    }


@pytest.mark.parametrize(
    "text",
    ["a grey-haired old woman", "an old grey-haired woman", "old woman with GREY hair",
     "a woman, old, with gray hair"],
)  # fmt: skip
def test_order_hyphens_and_case_do_not_matter(text: str) -> None:
    assert said(text) == {"age": OLD, "sex": "woman", "hair_colour": "grey"}


def test_a_compound_takes_no_word_that_may_be_the_persons() -> None:
    values = said("an old black curly-haired man")
    assert (values["origin"], values["hair_kind"]) == ("african", "curly")
    assert "hair_colour" not in values
    assert said("a long grey-haired man")["hair_length"] == "long"


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("a 70-year-old woman", 70, 70),
        ("a man aged 33", 33, 33),
        ("a man, 51 years old", 51, 51),
        ("a woman in her late fifties", 57, 59),
        ("a man in his sixties", 60, 69),
        ("an old woman, 70 years old", 70, 70),
        ("a very old man", 80, 92),
    ],
)
def test_ages_are_words_or_numbers(text: str, low: int, high: int) -> None:
    assert read_description(text).age == Years(low, high)


@pytest.mark.parametrize("age", [7, 17, 96, 400])
def test_an_age_that_no_head_has_is_named(age: int) -> None:
    assert f"age {age}: give 18 to 95" in complaint(f"a {age} year old man")


def test_every_unknown_word_is_named_with_what_is_known() -> None:
    text = complaint("a wooden man with a leg of steel, ☺")
    assert "I do not know 'wooden', 'leg', 'steel', '☺'" in text
    assert "known: person: woman, man" in text
    assert "headwear: headscarf, turban" in text


@pytest.mark.parametrize(
    ("text", "one", "other"),
    [
        ("a bald man with long hair", "bald", "long hair"),
        ("a bald man with curly hair", "bald", "curly hair"),
        ("a young old man", "young", "old"),
        ("an old woman, 30 years old", "old", "30 years"),
        ("a happy man with a sad face", "happy", "sad"),
        ("a clean-shaven man with a beard", "clean shaven", "beard"),
        ("a woman with a headscarf and a turban", "headscarf", "turban"),
        ("a man with a black and white beard", "black beard", "white beard"),
        ("a woman with short hair, tied hair", "short hair", "tied hair"),
        ("a man and a woman", "man", "woman"),
    ],
)
def test_contradictions_are_named(text: str, one: str, other: str) -> None:
    assert f"{one!r} and {other!r} contradict each other" in complaint(text)


def test_a_beard_and_a_moustache_are_one_beard() -> None:
    assert said("a man with a beard and a moustache")["beard"] == "full"
    assert said("a man with a moustache and a goatee")["beard"] == "goatee"
    assert said("a man with stubble and a moustache")["beard"] == "moustache"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a short man", "'short' cannot stand before 'man': it goes with hair, beard"),
        ("a man with old hair", "'old' cannot stand before 'hair': it goes with person"),
        ("a woman with a scarf and red", "'red' cannot stand alone"),
        ("a man with hair black", "write 'black hair', not 'hair black'"),
        ("a haired man", "say which before 'haired'"),
        ("a man with no long hair", "say what there is instead of 'no long hair'"),
        ("a man with no skin", "say what there is instead of 'no skin'"),
    ],
)
def test_words_out_of_place_are_named(text: str, where: str) -> None:
    assert where in complaint(text)


def test_what_is_not_there_is_understood() -> None:
    assert said("a man without a beard or glasses") == {
        "sex": "man",
        "beard": "none",
        "glasses": "none",
    }
    assert said("a man with no beard and glasses")["glasses"] == "yes"
    assert said("a man with no hair")["hair_length"] == "bald"


@pytest.mark.parametrize("text", ["", "   ", "old " * 200])
def test_an_empty_or_endless_description_is_refused(text: str) -> None:
    assert "say in 1 to 500 characters" in complaint(text)


def test_every_word_of_the_vocabulary_is_understood() -> None:
    fields = {field.name for field in dataclasses.fields(Description)}
    for row in word_rows():
        noun = next(iter(TOPICS[row.topic].nouns))
        for word in (word for same in row.words for word in same):
            is_noun = word in TOPICS[row.topic].nouns
            values = said(word if is_noun or row.topic == "person" else f"{word} {noun}")
            assert values.keys() <= fields
            assert not row.says or row.says.replace(" ", "_") in values


def test_the_page_lists_the_word_rows() -> None:
    page = (Path(__file__).parents[4] / "docs" / "describe.md").read_text()
    for row in word_rows():
        words = "; ".join(", ".join(same) for same in row.words)
        assert f"| {row.topic} | {row.says} | {words} |" in page


def test_every_value_has_a_look() -> None:
    tables = {
        "origin": sampling.ORIGINS, "skin": sampling.SKINS, "hair_colour": sampling.HAIR,
        "beard_colour": sampling.HAIR, "eyes": sampling.EYES, "mood": sampling.MOODS,
        "headwear_colour": sampling.CLOTHS, "clothes_colour": sampling.CLOTHS,
        "background": sampling.CLOTHS, "rims": sampling.RIMS,
        "beard_length": sampling.BEARD_LENGTHS,
    }  # fmt: skip
    topics = TOPICS.values()
    meanings = [said for topic in topics for words in (topic.nouns, topic.words)
                for said in words.values()]  # fmt: skip
    for one in (one for said in meanings for one in said):
        assert one.value in tables.get(one.field, {one.value}), one
