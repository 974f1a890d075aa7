"""The words a description may be made of, and what each says; the first word of a row is its name.

A ``Trait`` gives one field of ``words.Description`` a value. Values are names; ``sampling`` turns
them into shapes and colours. Ages are spans of years, ``"60-69"``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Trait:
    """One field of a description and its value."""

    field: str
    value: str


Meanings = Mapping[str, tuple[Trait, ...]]
"""What each word says."""


@dataclass(frozen=True, slots=True)
class Topic:
    """Something that descriptions speak of: its nouns and the words that may stand before them."""

    nouns: Meanings
    words: Meanings = field(default_factory=dict)
    absent: tuple[Trait, ...] = ()
    """What "no" before the noun says; empty where it says nothing."""
    ending: str = ""
    """Of compounds such as "grey-haired", which stand among other words."""


def _rows(name: str, **rows: str) -> dict[str, tuple[Trait, ...]]:
    """Return meanings from rows: ``value="word, other word"``; ``_`` in a value is a space."""
    return {
        word: (Trait(name, value.replace("_", " ")),)
        for value, words in rows.items()
        for word in words.split(", ")
    }


def _decades() -> dict[str, tuple[Trait, ...]]:
    names = ("twenties", "thirties", "forties", "fifties", "sixties", "seventies", "eighties")
    spans = {"": (0, 9), "early ": (0, 3), "mid ": (4, 6), "late ": (7, 9)}
    return {
        f"{part}{name}": (Trait("age", f"{20 + 10 * k + low}-{20 + 10 * k + high}"),)
        for k, name in enumerate(names)
        for part, (low, high) in spans.items()
    }


AGES = {
    word: (Trait("age", span),)
    for words, span in (
        ("young, youthful", "18-32"),
        ("middle aged", "40-56"),
        ("old, elderly, aged, senior", "65-85"),
        ("very old", "80-92"),
    )
    for word in words.split(", ")
} | _decades()
SEXES = _rows("sex", woman="female, feminine", man="male, masculine")
ORIGINS = _rows(
    "origin",
    african="african, black, nigerian, ethiopian, kenyan, african american",
    european="european, white, caucasian",
    east_asian="east asian, asian, chinese, japanese, korean",
    southeast_asian="southeast asian, south east asian, filipino, filipina, indonesian, malay,"
    " thai, vietnamese",
    south_asian="south asian, indian, pakistani, bangladeshi, sri lankan",
    arab="arab, arabic, middle eastern, north african, egyptian, iranian, persian, turkish",
    latin_american="latin american, latin, latina, latino, hispanic, mexican, brazilian",
    mixed="mixed, mixed race, biracial",
)
MOODS = _rows(
    "mood",
    smiling="smiling, happy, cheerful, friendly, joyful",
    calm="calm, neutral, relaxed",
    serious="serious, stern, earnest",
    sad="sad, unhappy",
    angry="angry, cross, grim",
    surprised="surprised, astonished",
    tired="tired, sleepy, weary",
)
BUILDS = _rows(
    "build",
    thin="thin, slim, slender, skinny, lean",
    heavy="heavy, plump, fat, chubby, stout, round, overweight",
    strong="strong, muscular, athletic",
)
_SKINS = {"pale": "pale, very light", "light": "light, fair", "olive": "olive", "tan":
          "tan, tanned", "brown": "brown", "dark": "dark", "very_dark":
          "very dark, black"}  # fmt: skip
SKIN = _rows("skin", **_SKINS)
_HAIRS = {"black": "black", "dark_brown": "dark brown, dark", "brown": "brown", "light_brown":
          "light brown", "blond": "blond, blonde, fair, golden", "red": "red, ginger",
          "auburn": "auburn", "grey": "grey, gray, silver, greying, graying", "white":
          "white, snow white"}  # fmt: skip
HAIR = (
    _rows("hair_colour", **_HAIRS)
    | _rows(
        "hair_length",
        cropped="cropped, very short, shaved, buzzed",
        short="short",
        medium="medium, medium length, shoulder length, chin length",
        long="long, very long",
    )
    | _rows(
        "hair_kind",
        straight="straight, smooth",
        wavy="wavy",
        curly="curly",
        afro="coily, frizzy",
        tied="tied, tied back, pinned up",
    )
)
_CLOTHS = {"black": "black", "grey": "grey, gray", "white": "white", "beige": "beige, cream",
           "brown": "brown", "red": "red", "dark_red": "dark red, burgundy, maroon", "orange":
           "orange, saffron", "yellow": "yellow", "green": "green", "dark_green": "dark green",
           "teal": "teal, turquoise", "blue": "blue", "light_blue": "light blue", "navy":
           "navy, dark blue", "purple": "purple, violet", "pink": "pink"}  # fmt: skip
_EYES = {"black": "black, very dark", "brown": "brown, dark, dark brown", "hazel":
         "hazel, light brown", "green": "green", "blue": "blue", "grey": "grey, gray"}  # fmt: skip
_RIMS = {"black": "black", "brown": "brown, tortoiseshell", "gold": "gold, golden",
         "silver": "silver, metal", "red": "red", "blue": "blue"}  # fmt: skip
_BALD = (Trait("hair_length", "bald"),)
_WOMAN, _MAN, _OLD = Trait("sex", "woman"), Trait("sex", "man"), Trait("age", "65-85")

_PERSON_WORDS: Meanings = (
    AGES
    | SEXES
    | MOODS
    | BUILDS
    | _rows("skin", pale="pale", light="fair", tan="tan, tanned", dark="dark", brown="brown")
    | ORIGINS
    | _rows("hair_colour", blond="blond, blonde", dark_brown="brunette", red="ginger, redheaded")
    | _rows("hair_length", bald="bald, bald headed")
    | _rows("hair_kind", curly="curly")
    | _rows("beard", full="bearded", none="clean shaven, shaven, beardless", stubble="unshaven")
    | _rows("glasses", yes="bespectacled")
)
_NOBODY = "person, human, human being, adult, someone, somebody, face, head, build, nationality"
PERSON = Topic(
    {
        **dict.fromkeys(("woman", "lady"), (_WOMAN,)),
        **dict.fromkeys(("man", "gentleman", "guy"), (_MAN,)),
        **dict.fromkeys(("grandmother", "grandma", "granny"), (_WOMAN, _OLD)),
        **dict.fromkeys(("grandfather", "grandpa"), (_MAN, _OLD)),
        **dict.fromkeys(_NOBODY.split(", "), ()),
    },
    _PERSON_WORDS,
)
TOPICS: Mapping[str, Topic] = {
    "person": PERSON,
    "skin": Topic({"skin": (), "complexion": ()}, SKIN, ending="skinned"),
    "hair": Topic(
        {
            "hair": (),
            "curls": (Trait("hair_kind", "curly"),),
            "afro": (Trait("hair_kind", "afro"),),
            **{w: (Trait("hair_kind", "tied"),) for w in ("ponytail", "bun")},
        },
        HAIR,
        _BALD,
        "haired",
    ),
    "eyes": Topic({"eyes": ()}, _rows("eyes", **_EYES), ending="eyed"),
    "beard": Topic(
        {
            "beard": (Trait("beard", "full"),),
            "goatee": (Trait("beard", "goatee"),),
            "moustache": (Trait("beard", "moustache"),),
            "mustache": (Trait("beard", "moustache"),),
            "stubble": (Trait("beard", "stubble"),),
        },
        _rows("beard_colour", **_HAIRS)
        | _rows("beard_length", short="short, trimmed, neat", long="long, full, thick, bushy"),
        (Trait("beard", "none"),),
        "bearded",
    ),
    "glasses": Topic(
        {word: (Trait("glasses", "yes"),) for word in ("glasses", "spectacles", "eyeglasses")},
        _rows("rims", **_RIMS) | _rows("rim_shape", round="round", square="square, rectangular"),
        (Trait("glasses", "none"),),
    ),
    "headwear": Topic(
        {
            **{
                word: (Trait("headwear", "headscarf"),)
                for word in ("headscarf", "head scarf", "scarf", "hijab")
            },
            "turban": (Trait("headwear", "turban"),),
        },
        _rows("headwear_colour", **_CLOTHS),
        (Trait("headwear", "none"),),
    ),
    "clothes": Topic(
        {
            **{
                word: (Trait("clothes", "jumper"),)
                for word in ("jumper", "sweater", "pullover", "jersey")
            },
            "shirt": (Trait("clothes", "shirt"),),
            "blouse": (Trait("clothes", "shirt"),),
            "clothes": (),
        },
        _rows("clothes_colour", **_CLOTHS),
    ),
    "smile": Topic(
        {"smile": (Trait("mood", "smiling"),)},
        dict.fromkeys(("friendly", "gentle", "warm", "slight", "broad", "big"), ()),
        (Trait("mood", "serious"),),
    ),
    "background": Topic(
        dict.fromkeys(("background", "backdrop", "wall"), ()),
        _rows("background", **_CLOTHS),
    ),
}
"""Everything by name."""

JOINTS = frozenset(("with", "wearing", "wears", "in", "on", "of", "who", "has", "have", "having"))
"""Small words after which something else is spoken of."""
SMALL = frozenset(
    ("a", "an", "the", "is", "are", "looks", "looking", "her", "his", "their", "its", "she", "he",
     "they", "year", "years")
)  # fmt: skip
"""Words that say nothing here."""
NEGATIONS = frozenset(("no", "without"))
LINKS = frozenset(("and", "or", "nor", "but", ",", ";", "."))


@dataclass(frozen=True, slots=True)
class VocabularyRow:
    """Words that speak of the same."""

    topic: str
    says: str
    """The trait they give, or nothing for nouns that give none."""
    words: tuple[tuple[str, ...], ...]
    """By meaning; the first of each is its name."""


def word_rows() -> list[VocabularyRow]:
    """Return the words by topic and trait, but for "early", "mid" and "late" decades."""
    rows: dict[tuple[str, str], dict[tuple[Trait, ...], list[str]]] = {}
    for name, topic in TOPICS.items():
        for word, traits in (*topic.nouns.items(), *topic.words.items()):
            if not word.startswith(("early ", "mid ", "late ")):
                says = traits[0].field.replace("_", " ") if traits else ""
                rows.setdefault((name, says), {}).setdefault(traits, []).append(word)
    return [
        VocabularyRow(topic, says, tuple(tuple(same) for same in meanings.values()))
        for (topic, says), meanings in rows.items()
    ]


def known_words() -> str:
    """Return the name of every meaning, by topic."""
    names: dict[str, list[str]] = {}
    for row in word_rows():
        names.setdefault(row.topic, []).extend(same[0] for same in row.words)
    return "; ".join(f"{topic}: {', '.join(words)}" for topic, words in names.items())
