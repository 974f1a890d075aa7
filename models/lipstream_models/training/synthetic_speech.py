"""Sentences for made-up speech: everyday talk with every sound of English, written for this use."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lipstream.audio.resampler import Resampler
from lipstream.speech.espeak import EspeakOptions, espeak_library
from lipstream.types import Float32
from lipstream_models.synthetic.body.visemes import VISEMES

SENTENCES = (
    "Hello, how are you today?",
    "Good morning, everyone, and welcome back.",
    "My name is Ada, and I am here to help you.",
    "Please tell me what you would like to know.",
    "Of course, I will look that up for you right now.",
    "One moment, please, while I fetch the numbers.",
    "That is a very good question, thank you for asking.",
    "We both saw a big brown bear by the river.",
    "Peter pushed the purple button before breakfast.",
    "Maybe my mother made more marmalade in May.",
    "Five very fine vans drove off over the valley.",
    "She should wash her new shoes in the shower.",
    "The judge chose a large orange from the fridge.",
    "Who knew the blue moon would move so soon?",
    "Oh no, the old boat goes so slowly home.",
    "We eat green peas and cheese on the beach each week.",
    "Father parked the dark car far from the garden.",
    "Our loud cow found a way out of town.",
    "The boy enjoys the noise of his toys.",
    "I like to ride my bike at night under a bright sky.",
    "They say the rain may stay late on Wednesday.",
    "Six thin thieves thought of three things to throw.",
    "Those other brothers would rather breathe than bathe.",
    "A yellow yacht used to sail beyond the yard.",
    "Little Lily laughed loudly at the lazy lion.",
    "Red roses really grow along the narrow road.",
    "The king is singing a long song in the morning.",
    "Put the book on the good wooden stool, would you?",
    "Her first nurse heard the bird early on Thursday.",
    "Just jump up and come with us for lunch on Sunday.",
    "Zero zebras buzz around the busy zoo.",
    "What a wonderful world we want to walk through.",
    "Ten ten, eleven, twelve, thirteen, fourteen, fifteen.",
    "One, two, three, four, five, six, seven, eight, nine, zero.",
    "Place white by Q nine again.",
    "Lay green with M two now, and set blue in P four soon.",
    "The weather will be warm, with a little wind from the west.",
    "Open the window, close the door, and switch off the lamp.",
    "How much would it cost to move the whole company to Oxford?",
    "Wow, that was a huge surprise for all of us.",
    "I am sorry, I did not catch that, could you say it again?",
    "Bob and Pam may be back before the problem becomes important.",
    "Have fun with the photographs of the village festival.",
    "Nobody ever thought about the future of the factory.",
    "Measure the pleasure of treasure with usual leisure.",
    "Can you keep the cake cool in the kitchen until Christmas?",
    "A quick quiet queen quit the square.",
    "Goodbye for now, and see you again very soon.",
)


NAMES = tuple(VISEMES)
"""Visemes in the order of weight vectors."""

_LEAD_S = 0.03
"""Lips are at their place this much before the sound."""
_PAD_S = 0.35
"""Silence put before and after an utterance."""


@dataclass(frozen=True, slots=True)
class Voice:
    """How an utterance is spoken."""

    name: str
    """espeak-ng's voice and variant, such as ``en-us+f3``."""
    words_a_minute: int
    pitch: int
    """0 to 99."""


@dataclass(frozen=True, slots=True)
class Phoneme:
    """A phoneme and when it begins."""

    name: str
    """espeak-ng's mnemonic, without stress."""
    start_s: float


@dataclass(frozen=True, slots=True)
class Utterance:
    """Spoken words."""

    sound: Float32
    """(n,) float32 in -1..1, 16 kHz mono."""
    phonemes: tuple[Phoneme, ...]
    """In order; ends with a pause (an empty name)."""


def random_voice(rng: np.random.Generator) -> Voice:
    """Return a random voice of a woman, a man or a child."""
    accent = rng.choice(["en-us", "en", "en-us", "en-gb-x-rp", "en-gb-scotland"])
    variant = rng.choice(
        [
            "f1",
            "f2",
            "f3",
            "f4",
            "f5",
            "m1",
            "m2",
            "m3",
            "m4",
            "m6",
            "m7",
            "Annie",
            "Andrea",
            "steph",
        ]
    )
    woman = str(variant)[0] not in "m"
    pitch = rng.integers(45, 80) if woman else rng.integers(15, 55)
    return Voice(f"{accent}+{variant}", int(rng.integers(120, 200)), int(pitch))


class Speaker:
    """espeak-ng, with the times of its phonemes."""

    def __init__(self) -> None:
        """Raises BackendUnavailable, naming the package to install, where espeak-ng is missing."""
        self._library = espeak_library()
        self.rate = self._library.rate

    def say(self, text: str, voice: Voice) -> Utterance:
        """Speak a text. Raises InputError for a voice that espeak-ng lacks."""
        options = EspeakOptions(
            voice.name, voice.words_a_minute, voice.pitch, ends_with_pause=False
        )
        said = self._library.say(text, options)
        pad = np.zeros(round(_PAD_S * self.rate), np.int16)
        resampler = Resampler(self.rate)
        sound = np.concatenate([pad, said.pcm, pad])
        whole = np.concatenate([resampler.feed(sound), resampler.flush()])
        spoken = [
            Phoneme(moment.name.strip("'!,%=_:; "), _PAD_S + moment.time_ms / 1000)
            for moment in said.moments
            if moment.kind == "phoneme"
        ]
        ends = Phoneme("", _PAD_S + len(said.pcm) / self.rate)
        return Utterance(whole.astype(np.float32), (Phoneme("", 0.0), *spoken, ends))


_VISEME_OF: dict[str, tuple[str, float, float]] = {
    # mnemonic: viseme, weight, how firmly it is held (1: the lips must get there)
    "": ("rest", 1.0, 0.6),
    **dict.fromkeys("pbm", ("MBP", 1.0, 1.0)),
    **dict.fromkeys("fv", ("FV", 0.9, 1.0)),
    **dict.fromkeys("szTD", ("S", 0.75, 0.7)),
    **dict.fromkeys(("S", "Z", "tS", "dZ"), ("SH", 0.9, 0.8)),
    **dict.fromkeys(("t", "d", "n", "t#", "k", "g", "N"), ("S", 0.45, 0.35)),
    "l": ("L", 0.8, 0.6),
    "r": ("UH", 0.9, 0.5),
    "w": ("OO", 0.9, 0.9),
    "j": ("EE", 0.6, 0.5),
    "h": ("AH", 0.4, 0.2),
    "?": ("AH", 0.3, 0.1),
    "@": ("AH", 0.5, 0.4),
    "3": ("UH", 0.9, 0.7),
    "a": ("AA", 0.65, 0.8),
    "A": ("AA", 0.8, 0.9),
    "V": ("AH", 0.9, 0.7),
    "E": ("EH", 0.95, 0.8),
    "e": ("EH", 0.85, 0.8),
    "i": ("EE", 0.9, 0.8),
    "I": ("EE", 0.6, 0.6),
    "O": ("OH", 0.9, 0.9),
    "0": ("OH", 0.8, 0.8),
    "o": ("OH", 0.8, 0.8),
    "U": ("OO", 0.7, 0.7),
    "u": ("OO", 0.95, 0.9),
}
_GLIDES = {"aI": "aI", "eI": "eI", "OI": "OI", "aU": "aU", "oU": "oU", "@U": "oU"}
"""Diphthongs: the mouth goes from the first letter's shape to the second's."""


def visemes_of(name: str) -> tuple[tuple[str, float, float], ...]:
    """Return the visemes of a phoneme, in order: (viseme, weight, firmness)."""
    glide = _GLIDES.get(name)
    if glide is not None:
        return _VISEME_OF[glide[0]], _VISEME_OF[glide[1]]
    found = _VISEME_OF.get(name) or _VISEME_OF.get(name[:2]) or _VISEME_OF.get(name[:1])
    return (found or ("AH", 0.4, 0.2),)


@dataclass(frozen=True, slots=True)
class _Goal:
    """A shape the mouth heads for."""

    at_s: float
    width_s: float
    viseme: str
    weight: float
    firmness: float


def viseme_track(phonemes: tuple[Phoneme, ...], frames: int, fps: int) -> Float32:
    """Return (frames, visemes) weights, each row summing to 1, for frames at ``fps``.

    Each viseme pulls with a bell round its middle; firm ones (closed lips) win over loose ones:
    a dominance model after Cohen and Massaro, "Modeling coarticulation in synthetic visual speech"
    (1993).
    """
    goals = _goals(phonemes)
    at = np.arange(frames)[:, None] / fps + _LEAD_S
    middle = np.array([goal.at_s for goal in goals])
    width = np.array([goal.width_s for goal in goals])
    firmness = np.array([goal.firmness for goal in goals])
    outside = np.maximum(0.0, np.abs(at - middle) - 0.5 * width)
    pull = (0.05 + firmness) ** 2 * np.exp(-((outside / 0.045) ** 1.5))
    pull /= pull.sum(1, keepdims=True) + 1e-9
    track = np.zeros((frames, len(NAMES)))
    for column, goal in enumerate(goals):
        track[:, NAMES.index(goal.viseme)] += pull[:, column] * goal.weight
    track[:, NAMES.index("rest")] += 1.0 - track.sum(1)
    return track.astype(np.float32)


def _goals(phonemes: tuple[Phoneme, ...]) -> list[_Goal]:
    last = Phoneme("", phonemes[-1].start_s + 2 * _PAD_S)
    goals = []
    for phoneme, following in pairwise([*phonemes, last]):
        shapes = visemes_of(phoneme.name)
        length = (following.start_s - phoneme.start_s) / len(shapes)
        for number, (viseme, weight, firmness) in enumerate(shapes):
            middle = phoneme.start_s + (number + 0.5) * length
            # a short vowel does not reach its full opening
            reach = weight if firmness == 1.0 else weight * min(1.0, 0.55 + length / 0.2)
            goals.append(_Goal(middle, 0.7 * length, viseme, reach, firmness))
    return goals
