"""Made-up speech: espeak-ng speaking sentences of our own, with its phonemes and their times.

The sentences are everyday talk with every sound of English, written for this use.
"""

from dataclasses import dataclass

import numpy as np

from lipstream.audio.resampler import Resampler
from lipstream.speech.espeak import EspeakOptions, espeak_library
from lipstream.types import Float32

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


_PAD_S = 0.35
"""Silence put before and after an utterance."""


@dataclass(frozen=True, slots=True)
class SyntheticVoice:
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


def random_voice(rng: np.random.Generator) -> SyntheticVoice:
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
    return SyntheticVoice(f"{accent}+{variant}", int(rng.integers(120, 200)), int(pitch))


class SpeechSynthesizer:
    """espeak-ng, with the times of its phonemes."""

    def __init__(self) -> None:
        """Raises BackendUnavailable, naming the package to install, where espeak-ng is missing."""
        self._library = espeak_library()
        self.rate = self._library.rate

    def say(self, text: str, voice: SyntheticVoice) -> Utterance:
        """Speak a text. Raises InputError for a voice that espeak-ng lacks."""
        options = EspeakOptions(
            voice.name, voice.words_a_minute, voice.pitch, ends_with_pause=False
        )
        spoken_text = self._library.say(text, options)
        pad = np.zeros(round(_PAD_S * self.rate), np.int16)
        resampler = Resampler(self.rate)
        sound = np.concatenate([pad, spoken_text.pcm, pad])
        whole = np.concatenate([resampler.feed(sound), resampler.flush()])
        spoken = [
            Phoneme(moment.name.strip("'!,%=_:; "), _PAD_S + moment.time_ms / 1000)
            for moment in spoken_text.events
            if moment.kind == "phoneme"
        ]
        ends = Phoneme("", _PAD_S + len(spoken_text.pcm) / self.rate)
        return Utterance(whole.astype(np.float32), (Phoneme("", 0.0), *spoken, ends))
