"""Orders as the page sends them: good ones, and each wrong value named."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from random import Random

import pytest

from lipstream.errors import InputError
from lipstream.film.job import Cut, FaceChoice
from lipstream_server.config import StudioLimits
from lipstream_server.studio.errors import NotFound
from lipstream_server.studio.orders import OrderChoices, parse_json, parse_order
from lipstream_server.studio.records import FacePosition, FilmOrder, Job, Media
from lipstream_server.studio.tasks import render_job

TWO = (FacePosition(10, 20, 8), FacePosition(40, 20, 8))
FILM = Media("f", "film", "walk.mp4", "media.mp4", 0.0, 64, 48, 75, Fraction(25), 48_000, 2)
PICTURE = Media("p", "picture", "ada.png", "media.png", 0.0, 64, 48, faces=TWO)
SHORT = Media("s", "sound", "hi.wav", "media.wav", 0.0, rate=16_000, channels=1, samples=16_000)
LONG = Media("l", "sound", "talk.mp3", "media.mp3", 0.0, rate=44_100, channels=2, samples=220_500)
KEPT = {media.id: media for media in (FILM, PICTURE, SHORT, LONG)}
ON_FILM, ON_PICTURE, ADA = {"media": "f"}, {"media": "p"}, {"avatar": "ada"}


def kept(name):
    if name not in KEPT:
        raise NotFound("there is no such file here any more: add it again")
    return KEPT[name]


def order(face, *speech, **more):
    choices = OrderChoices(kept, ["ada", "mei"])
    limits = StudioLimits(film_seconds=10, pieces=3)
    return parse_order({"face": face, "speech": list(speech), **more}, choices, limits)


def test_an_order_comes_back_from_its_json_as_it_was():
    made = order(ON_FILM, {"sound": "s", "at": 0.5}, {"sound": "l", "at": 2, "until": 3})
    job = Job("id", made, 1.5)
    assert Job.from_json(job.to_json()) == job
    assert made.title == "walk.mp4: hi.wav"
    assert made.pieces[1].until == 3


def test_a_part_of_a_sound_and_one_of_several_people_are_chosen():
    piece = {"sound": "l", "at": 0.5, "from": 1.25, "to": 3}
    made = order(ON_FILM, piece, who={"x": 12.5, "y": 40}, follow=True)
    assert FilmOrder.from_json(made.to_json()) == made
    assert made.who == FaceChoice("nearest", x=12.5, y=40, follow=True)
    asked = render_job(made, Path("j"), (None, "auto", "fp32"))
    (segment,) = asked.segments
    assert (segment.at_s, segment.cut) == (Fraction(1, 2), Cut(Fraction(5, 4), Fraction(3)))
    assert asked.who == made.who
    assert order(ON_PICTURE, {"sound": "l"}, who=2).who == FaceChoice("nth", place=2)


def test_pieces_on_a_film_are_spoken_by_different_people():
    speech = ({"sound": "s"}, {"sound": "s", "at": 1, "who": 2}, {"sound": "s", "at": 2})
    made = order(ON_FILM, *speech, who={"x": 12.5, "y": 40}, follow=True)
    assert FilmOrder.from_json(made.to_json()) == made
    asked = render_job(made, Path("j"), (None, "auto", "fp32"))
    second = FaceChoice("nth", place=2, follow=True)
    assert [segment.who for segment in asked.segments] == [None, second, None]
    assert asked.who == FaceChoice("nearest", x=12.5, y=40, follow=True)


def test_a_preview_is_small_and_means_the_same_people():
    big = replace(FILM, width=1920, height=1080)
    choices = OrderChoices({"f": big, "s": SHORT}.__getitem__, ["ada"])
    written = {
        "face": ON_FILM,
        "speech": [{"sound": "s"}, {"sound": "s", "at": 1, "who": {"x": 1440, "y": 540}}],
        "who": {"x": 480, "y": 270},
        "quality": "high",
        "preview": True,
    }
    made = parse_order(written, choices, StudioLimits())
    assert FilmOrder.from_json(made.to_json()) == made
    asked = render_job(made, Path("j"), (None, "auto", "fp32"))
    assert (asked.view.size, asked.encoding.quality, asked.draft) == ((640, 360), "low", True)
    assert (asked.who.x, asked.who.y) == pytest.approx((160, 90))
    other = asked.segments[1].who
    assert other is not None
    assert (other.x, other.y) == pytest.approx((480, 180))
    small = order(ON_FILM, {"sound": "s"}, preview=True)
    assert render_job(small, Path("j"), (None, "auto", "fp32")).view.size == (64, 48)


def test_the_only_piece_of_a_film_as_long_as_its_speech_may_name_its_speaker():
    made = order(ON_FILM, {"sound": "l", "who": 2}, length="speech", who=1)
    assert render_job(made, Path("j"), (None, "auto", "fp32")).who == FaceChoice("nth", place=2)


def test_a_part_of_a_sound_may_give_the_film_its_length():
    made = order(ON_FILM, {"sound": "l", "from": 4}, length="speech")
    asked = render_job(made, Path("j"), (None, "auto", "fp32"))
    assert (asked.segments, asked.sound_cut) == ((), Cut(Fraction(4), None))


def test_the_length_of_a_part_counts():
    order(ON_FILM, {"sound": "l", "to": 2}, {"sound": "l", "at": 2, "from": 1, "to": 2})
    with pytest.raises(InputError, match="overlaps"):
        order(ON_FILM, {"sound": "l", "to": 2}, {"sound": "s", "at": 1.9})


def test_what_an_older_version_kept_is_read():
    made = order(ON_FILM, {"sound": "s"})
    written = made.to_json()
    del written["who"], written["face"]["faces"]
    for key in ("from", "to", "who"):
        del written["pieces"][0][key]
    assert FilmOrder.from_json(written) == made


def test_pieces_that_meet_at_a_frame_do_not_overlap():
    order(ON_FILM, {"sound": "s", "at": 0.04}, {"sound": "s", "at": 1.04})
    order(ON_FILM, {"sound": "s", "at": 2})  # to the film's last frame


def test_a_picture_has_no_end():
    order(ON_PICTURE, {"sound": "s", "at": 8})
    order(ADA, {"sound": "l"}, title="Hello")


@pytest.mark.parametrize(
    ("face", "speech", "more", "says"),
    [
        (None, [{"sound": "s"}], {}, "nobody is there to speak"),
        ({"avatar": "eve"}, [{"sound": "s"}], {}, "choose one of ada, mei"),
        ({"avatar": ["ada"]}, [{"sound": "s"}], {}, "choose one of ada, mei"),
        ({"media": "s"}, [{"sound": "s"}], {}, "nobody is there to speak"),
        ({"media": "gone"}, [{"sound": "s"}], {}, "add it again"),
        ({"media": "../f"}, [{"sound": "s"}], {}, "add it again"),
        (ADA, [], {}, "nothing is said"),
        (ADA, ["s"], {}, "each piece of speech is an object"),
        (ADA, [{"sound": "p"}], {}, "ada.png was added as a face"),
        (ADA, [{"sound": "s"}] * 4, {}, "send 3 at most"),
        (ADA, [{"sound": "s", "start": 1}], {}, "unknown start"),
        (ADA, [{"sound": "s", "from": 1}], {}, "hi.wav lasts 1.00 s: the part from 1 to 1 s"),
        (ADA, [{"sound": "s", "from": 0.6, "to": 0.5}], {}, "from 0.6 to 0.5 s is not in it"),
        (ADA, [{"sound": "s", "to": 1.5}], {}, "from 0 to 1.5 s is not in it"),
        (ADA, [{"sound": "s", "to": "1"}], {}, "hi.wav: its times must be seconds"),
        (ADA, [{"sound": "s"}], {"who": 1}, "an avatar is one person"),
        (ADA, [{"sound": "s"}], {"follow": True}, "an avatar is one person"),
        (ON_PICTURE, [{"sound": "s"}], {"follow": True}, "leave it out for a picture"),
        (ON_FILM, [{"sound": "s"}], {"follow": 1}, "follow is true or false"),
        (
            ON_PICTURE,
            [{"sound": "s"}],
            {"who": 3},
            "who asks for face 3, and ada.png may have 1 to 2",
        ),
        (ON_FILM, [{"sound": "s"}], {"who": 0}, "who asks for face 0"),
        (ON_FILM, [{"sound": "s"}], {"who": True}, "who is largest, a number"),
        (ON_FILM, [{"sound": "s"}], {"who": "ann"}, "who is largest, a number"),
        (ON_FILM, [{"sound": "s"}], {"who": {"x": 1}}, "who is largest, a number"),
        (
            ON_FILM,
            [{"sound": "s"}],
            {"who": {"x": 1, "y": 49}},
            "not lie in walk.mp4, which is 64x48",
        ),
        (ON_FILM, [{"sound": "s"}], {"who": {"x": "1", "y": 4}}, "give x and y in its pixels"),
        (ON_FILM, [{"sound": "s", "who": 9}], {}, "hi.wav: who asks for face 9, and walk.mp4"),
        (ON_FILM, [{"sound": "s", "who": "ann"}], {}, "hi.wav: who is largest, a number"),
        (ON_FILM, [{"sound": "s", "who": {"x": 70, "y": 1}}], {}, "hi.wav: the point of who"),
        (ON_PICTURE, [{"sound": "s", "who": 1}], {}, "hi.wav: only in a film"),
        (ADA, [{"sound": "s", "who": "largest"}], {}, "hi.wav: only in a film"),
        (ADA, [{"sound": "s", "at": -1}], {}, "hi.wav: its times must be seconds"),
        (ADA, [{"sound": "s", "at": "1"}], {}, "its times must be seconds"),
        (ADA, [{"sound": "s", "at": True}], {}, "its times must be seconds"),
        (ADA, [{"sound": "s", "at": float("inf")}], {}, "its times must be seconds"),
        (ADA, [{"sound": "s"}], {"length": "long"}, "no such length"),
        (ADA, [{"sound": "s"}], {"ends": ["cut"]}, "no such ends"),
        (ADA, [{"sound": "s"}], {"quality": "best"}, "choose one of low, medium, high"),
        (ADA, [{"sound": "s"}], {"still": 1}, "still is true or false"),
        (ADA, [{"sound": "s"}], {"backend": "cuda"}, "unknown backend"),
        (ON_FILM, [{"sound": "s", "at": 4}], {}, "outside the film, which lasts 3.00 s"),
        (ON_FILM, [{"sound": "s", "at": 2.5}], {}, "hi.wav would be spoken until 3.5"),
        (ON_FILM, [{"sound": "l"}], {}, "talk.mp3 would be spoken until 5.00 s"),
        (ON_FILM, [{"sound": "s", "at": 1, "until": 1}], {}, "the end must come after"),
        (ON_FILM, [{"sound": "s"}, {"sound": "s", "at": 0.5}], {}, "overlaps hi.wav"),
        (ADA, [{"sound": "s"}, {"sound": "l", "at": 0.9}], {}, "talk.mp3, from 0.9 s, overlaps"),
        (ADA, [{"sound": "s", "at": 9.5}], {}, "at most 10 s"),
        (ON_FILM, [{"sound": "s", "at": 1}], {"length": "speech"}, "only when one piece"),
    ],
)
def test_what_is_wrong_is_named_in_one_sentence(face, speech, more, says):
    with pytest.raises(InputError, match=says) as refused:
        order(face, *speech, **more)
    assert "\n" not in str(refused.value)


def test_a_film_may_be_as_long_as_its_speech():
    assert order(ON_FILM, {"sound": "l"}, length="speech", ends="bounce").ends == "bounce"


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"a": NaN}', b"\xff", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(body):
    with pytest.raises(InputError, match="JSON"):
        parse_json(body)


HUGE = int("9" * 400)
TRICK = "a` - at `$.speech[9].at"
ODD = [
    None,
    True,
    0,
    -1,
    1.5,
    HUGE,
    -HUGE,
    1e308,
    "",
    TRICK,
    "\n",
    [],
    {},
    [[]],
]
ODD += [{"x": 1}, {"x": HUGE, "y": 0}, {"x": 0, "y": 0, "z": 0}, {"media": "f", "avatar": "ada"}]


def changed(value, random):
    """Return a JSON value with something in it replaced, left out or added."""
    if isinstance(value, dict) and value and random.random() < 0.8:
        key = random.choice([*value, "who", "from", TRICK, "x" * 99])
        return {**value, key: changed(value.get(key), random)}
    if isinstance(value, list) and value and random.random() < 0.8:
        place = random.randrange(len(value))
        return [*value[:place], changed(value[place], random), *value[place + 1 :]]
    return random.choice(ODD)


def test_ten_thousand_strange_orders_are_each_made_or_refused_in_one_sentence():
    random = Random(14)
    limits = StudioLimits(film_seconds=10, pieces=3)
    good = [
        {"face": ON_FILM, "speech": [{"sound": "s", "at": 0.5, "who": 1}], "follow": True},
        {"face": ADA, "speech": [{"sound": "l", "from": 1, "to": 2}], "length": "speech"},
        {"face": ON_PICTURE, "speech": [{"sound": "s"}], "who": {"x": 3, "y": 4}, "title": "a"},
    ]
    refused = []
    for _ in range(10_000):
        sent = changed(changed(random.choice(good), random), random)
        try:
            parse_order(parse_json(json.dumps(sent).encode()), OrderChoices(kept, ["ada"]), limits)
        except InputError as error:
            refused.append(str(error))
    assert 2_000 < len(refused) < 10_000
    assert not [sentence for sentence in refused if "\n" in sentence or len(sentence) > 400]


@pytest.mark.parametrize("digits", [400, 5_000, 50_000])
@pytest.mark.parametrize("key", ["at", "who", "sound"])
def test_a_number_of_many_digits_is_refused(key, digits):
    piece = b'{"sound": "s", "%s": %s}' % (key.encode(), b"9" * digits)
    body = b'{"face": {"avatar": "ada"}, "speech": [%s]}' % piece
    limits = StudioLimits(film_seconds=10, pieces=3)
    with pytest.raises(InputError) as refused:
        parse_order(parse_json(body), OrderChoices(kept, ["ada"]), limits)
    assert len(str(refused.value)) < 200
