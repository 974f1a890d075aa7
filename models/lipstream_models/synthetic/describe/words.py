"""Read a description of a person: "an old woman with a headscarf" to values. Words only.

    description = read_description("a smiling young black man with short hair")

English in its plain form: words for a thing stand before it ("long grey hair"), what has no noun
of its own speaks of the person ("old, smiling"). Nothing is passed over: a word that is not in the
vocabulary, one that does not go with its noun and two that contradict each other are errors.
"""

import re
from dataclasses import dataclass, fields

from lipstream.errors import InputError
from lipstream_models.synthetic.describe.vocabulary import (
    JOINTS,
    LINKS,
    NEGATIONS,
    PERSON,
    SMALL,
    TOPICS,
    Topic,
    Trait,
    known_words,
)

_AGE = re.compile(r"\b(?:aged? (?:of )?)?(\d+)(?: years?)?(?: old| of age)?\b")
_TOKEN = re.compile(r"#\d+|[^\W\d_]+(?:'[^\W\d_]+)?|\d+|[,;.]|[^\s]")
_LONGEST = 3
"""Words in the longest phrase of the vocabulary."""
_CHARACTERS = 500
_YOUNGEST, _OLDEST = 18, 95


@dataclass(frozen=True, slots=True)
class Years:
    """An age somewhere from ``low`` to ``high``."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Description:
    """What was said of a person; None is left open."""

    age: Years | None = None
    sex: str | None = None
    origin: str | None = None
    build: str | None = None
    mood: str | None = None
    skin: str | None = None
    hair_length: str | None = None
    """``bald``, ``cropped``, ``short``, ``medium`` or ``long``."""
    hair_kind: str | None = None
    hair_colour: str | None = None
    eyes: str | None = None
    beard: str | None = None
    """``none``, ``stubble``, ``moustache``, ``goatee`` or ``full``."""
    beard_length: str | None = None
    beard_colour: str | None = None
    glasses: str | None = None
    """``yes`` or ``none``."""
    rims: str | None = None
    rim_shape: str | None = None
    headwear: str | None = None
    """``none``, ``headscarf`` or ``turban``."""
    headwear_colour: str | None = None
    clothes: str | None = None
    clothes_colour: str | None = None
    background: str | None = None


def read_description(text: str) -> Description:
    """Return what a description says; raises InputError that names the words it trips over."""
    if not text.strip() or len(text) > _CHARACTERS:
        raise InputError(
            f"description: {len(text)} characters found: say in 1 to {_CHARACTERS} characters who"
            " it is, for example 'an old woman with a headscarf'"
        )
    reader = _Reader()
    for phrase in _phrases(text):
        reader.take(phrase)
    return reader.description()


_ENDINGS = {topic.ending: topic for topic in TOPICS.values() if topic.ending}
_NOUNS = {noun: topic for topic in TOPICS.values() for noun in topic.nouns}
_WORDS = {word for topic in TOPICS.values() for word in topic.words}
_PHRASES = _WORDS | _NOUNS.keys() | _ENDINGS.keys() | SMALL | JOINTS | NEGATIONS | LINKS


def _phrases(text: str) -> list[str]:
    """Return the longest known phrases of a text; raises InputError for unknown words."""
    plain = re.sub(r"[-‐‑–—\s]+", " ", text.lower().replace("’", "'"))
    tokens = _TOKEN.findall(_AGE.sub(r"#\1", plain))
    phrases, unknown, at = [], [], 0
    while at < len(tokens):
        sizes = range(min(_LONGEST, len(tokens) - at), 0, -1)
        lengths = [n for n in sizes if " ".join(tokens[at : at + n]) in _PHRASES]
        size = lengths[0] if lengths else 1
        phrase = " ".join(tokens[at : at + size])
        if not lengths and not phrase.startswith("#"):
            unknown.append(phrase)
        phrases.append(phrase)
        at += size
    if unknown:
        named = ", ".join(repr(word) for word in dict.fromkeys(unknown))
        raise InputError(f"description: I do not know {named}; known: {known_words()}")
    return phrases


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A word that waits for its noun."""

    text: str
    after: str
    """The noun it follows directly, or nothing."""


@dataclass(frozen=True, slots=True)
class _ReadValue:
    """The value of a field and the words that gave it."""

    value: str
    phrase: str


_TOGETHER = {
    frozenset(("full", "moustache")): "full",
    frozenset(("goatee", "moustache")): "goatee",
    frozenset(("stubble", "moustache")): "moustache",
}
"""Beards that go together, and what they make."""
_APART = (
    ("hair_length", ("bald",), "hair_colour", None),
    ("hair_length", ("bald",), "hair_kind", None),
    ("hair_length", ("cropped", "short"), "hair_kind", ("tied",)),
    ("hair_length", ("cropped",), "hair_kind", ("wavy",)),
    ("beard", ("moustache", "stubble"), "beard_length", ("long",)),
)
"""Values of two fields that contradict each other; None is any value."""


class _Reader:
    """Takes phrases one by one and keeps what they say."""

    def __init__(self) -> None:
        self._values: dict[str, _ReadValue] = {}
        self._waiting: list[_Waiting] = []
        self._negation = ""
        self._noun = ""
        """The noun just read, when nothing came since."""

    def take(self, phrase: str) -> None:
        """Read one phrase of the vocabulary."""
        last, self._noun = self._noun, ""
        if phrase.startswith("#"):
            self._set_age(int(phrase[1:]))
        elif phrase in NEGATIONS:
            self._settle()
            self._negation = phrase
        elif phrase in _ENDINGS and self._fitting(_ENDINGS[phrase]):
            self._take_compound(_ENDINGS[phrase], phrase)
        elif phrase in _NOUNS:
            self._take_noun(_NOUNS[phrase], phrase)
            self._noun = phrase
        elif phrase in _WORDS:
            self._waiting.append(_Waiting(phrase, last))
        elif phrase in _ENDINGS:
            raise InputError(f"description: say which before {phrase!r}, as in 'dark-{phrase}'")
        elif phrase in JOINTS:
            self._settle()
        elif phrase in LINKS and phrase not in ("or", "nor"):
            self._negation = ""

    def description(self) -> Description:
        """Return what was said; raises InputError for contradictions."""
        self._settle()
        for one, values, other, others in _APART:
            first, second = self._values.get(one), self._values.get(other)
            if first and second and first.value in values and (
                others is None or second.value in others
            ):  # fmt: skip
                raise _contradiction(first.phrase, second.phrase)
        traits = {name: read.value for name, read in self._values.items()}
        low, _, high = traits.pop("age", "").partition("-")
        age = Years(int(low), int(high)) if low else None
        assert traits.keys() <= {field.name for field in fields(Description)}
        return Description(age, **traits)

    def _fitting(self, topic: Topic) -> int:
        """Return how many of the last waiting words a compound takes.

        The nearest, and those before it which cannot speak of the person: of "black curly-haired"
        it is "curly" alone.
        """
        words = [word.text for word in reversed(self._waiting)]
        for count, word in enumerate(words):
            if word not in topic.words or (count and word in PERSON.words):
                return count
        return len(words)

    def _take_compound(self, topic: Topic, ending: str) -> None:
        """Take the words before "haired" and leave the others waiting."""
        count = self._fitting(topic)
        words = [word.text for word in self._waiting[-count:]]
        del self._waiting[-count:]
        phrase = "-".join((*words, ending))
        for word in words:
            self._set_traits(topic.words[word], phrase)
        self._set_traits(PERSON.words.get(ending, ()), phrase)

    def _take_noun(self, topic: Topic, noun: str) -> None:
        words = [word.text for word in self._waiting]
        fit = [word for word in words if word in topic.words]
        phrase = " ".join((*fit, noun))
        if self._negation:
            self._set_absent(topic, noun, words)
            return
        if words and words[-1] not in topic.words:
            raise _misfit(words[-1], f"before {noun!r}")
        self._waiting = [word for word in self._waiting if word.text not in topic.words]
        self._settle()
        for word in fit:  # each speaks of the person by itself, but "long hair" of the hair
            self._set_traits(topic.words[word], word if topic is PERSON else f"{word} {noun}")
        self._set_traits(topic.nouns[noun], noun if topic is PERSON else phrase)

    def _set_absent(self, topic: Topic, noun: str, words: list[str]) -> None:
        phrase = " ".join((self._negation, *words, noun))
        if words or not topic.absent:
            raise InputError(f"description: say what there is instead of {phrase!r}")
        self._set_traits(topic.absent, phrase)

    def _settle(self) -> None:
        """Let the person have the words that found no noun of their own."""
        for word in self._waiting:
            if word.after and word.text in _NOUNS[word.after].words:
                asked = f"{word.text} {word.after}"
                raise InputError(f"description: write {asked!r}, not '{word.after} {word.text}'")
            if word.text not in PERSON.words:
                raise _misfit(word.text, "alone")
            self._set_traits(PERSON.words[word.text], word.text)
        self._waiting, self._negation = [], ""

    def _set_age(self, years: int) -> None:
        if not _YOUNGEST <= years <= _OLDEST:
            raise InputError(f"description: age {years}: give {_YOUNGEST} to {_OLDEST} years")
        self._set_traits((Trait("age", f"{years}-{years}"),), f"{years} years")

    def _set_traits(self, meanings: tuple[Trait, ...], phrase: str) -> None:
        for trait in meanings:
            before = self._values.get(trait.field)
            value = trait.value
            if before is not None and before.value != value:
                value = _both(trait.field, before.value, value) or ""
                if not value:
                    raise _contradiction(before.phrase, phrase)
            self._values[trait.field] = _ReadValue(
                value, phrase if before is None else before.phrase
            )


def _both(field: str, one: str, other: str) -> str | None:
    """Return the value that agrees with two; None when there is none."""
    if field == "age":
        spans = [[int(years) for years in span.split("-")] for span in (one, other)]
        low, high = max(span[0] for span in spans), min(span[1] for span in spans)
        return f"{low}-{high}" if low <= high else None
    return _TOGETHER.get(frozenset((one, other)))


def _contradiction(one: str, other: str) -> InputError:
    return InputError(f"description: {one!r} and {other!r} contradict each other: keep one")


def _misfit(word: str, where: str) -> InputError:
    topics = ", ".join(name for name, topic in TOPICS.items() if word in topic.words)
    return InputError(f"description: {word!r} cannot stand {where}: it goes with {topics}")
