"""Made-up sound: speech whose phonemes have known times, and music and noise without a voice.

Speech is espeak-ng's, of sentences of our own: everyday talk with every sound of English. Music is
so that a sound stage learns what no mouth moves to: random chords and lines of additive tones
(plucked, bowed, blown, organ-like, distorted), bass, drums and cymbals, a room. Nothing is recorded
and nothing is quoted.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lipstream.audio.mel import mel_spectrogram
from lipstream.audio.resampler import Resampler
from lipstream.speech.espeak import EspeakOptions, espeak_library
from lipstream.timing import MODEL_RATE
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


Sound = NDArray[np.float64]
_SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 7, 9), (0, 3, 5, 6, 7, 10))
_Plan = tuple[float, NDArray[np.int_], int]
"""Seconds from note to note, the scale in semitones, the key as a MIDI note."""
_LOUDEST = 0.3
_WHITE_SHARE, _SWELL_SHARE = 0.3, 0.3
_NOISE_FALL = (-0.3, 1.2)
"""Amplitude falls with frequency to this power: 0.5 is pink noise, 1 is brown."""


@dataclass(frozen=True, slots=True)
class _Instrument:
    """How tones sound."""

    slope: float
    """Fall of the harmonics: the k-th has k to the minus slope."""
    even: float
    """Strength of the even harmonics."""
    attack_s: float
    decay_s: float
    """Time to fall to 1/e; long for what is bowed or blown."""
    vibrato: float
    """Depth, share of the pitch."""
    drive: float
    """Distortion: 0 none."""


def _instrument(rng: np.random.Generator) -> _Instrument:
    held = rng.random() < 0.5
    return _Instrument(
        float(rng.uniform(0.6, 2.2)),
        float(rng.uniform(0.1, 1.0)),
        float(rng.uniform(0.03, 0.25) if held else rng.uniform(0.002, 0.02)),
        float(rng.uniform(1.0, 5.0) if held else rng.uniform(0.12, 0.9)),
        float(rng.uniform(0.0, 0.012) if held else 0.0),
        float(rng.uniform(1.0, 6.0) if rng.random() < 0.2 else 0.0),
    )


def music_piece(rng: np.random.Generator, seconds: float = 6.0) -> Float32:
    """Return a random piece: (n,) float32 at 16 kHz, at most 0.3 loud."""
    sound = np.zeros(int(seconds * MODEL_RATE))
    beat = 60.0 / rng.uniform(60, 180)
    scale, key = np.array(_SCALES[rng.integers(len(_SCALES))]), int(rng.integers(40, 56))
    parts = rng.random(4) < (0.75, 0.6, 0.5, 0.55)
    if not parts.any():
        parts[0] = True
    if parts[0]:
        _chords(sound, rng, (beat * rng.choice([1, 2, 4]), scale, key))
    if parts[1]:
        _line(sound, rng, (beat / rng.choice([1, 2, 4]), scale, key + 12 * int(rng.integers(0, 3))))
    if parts[2]:
        _line(sound, rng, (beat, scale, key - 12))
    if parts[3]:
        _drums(sound, rng, beat / 2)
    if rng.random() < 0.5:
        sound = _in_room(sound, rng)
    peak = float(np.abs(sound).max())
    return (sound * (_LOUDEST / max(peak, 1e-6))).astype(np.float32)


def music_mels(count: int, seed: int, seconds: float = 6.0) -> Float32:
    """Return the mels of random pieces: (count, 80, columns) float32."""
    rng = np.random.default_rng(seed)
    return np.stack([mel_spectrogram(music_piece(rng, seconds)) for _ in range(count)])


def noise(rng: np.random.Generator, seconds: float = 6.0) -> Float32:
    """Return steady or swelling noise of a random colour: (n,) float32 at 16 kHz, RMS 0.1."""
    count = int(seconds * MODEL_RATE)
    spectrum = np.fft.rfft(rng.standard_normal(count))
    hertz = np.fft.rfftfreq(count, 1 / MODEL_RATE)
    fall = 0.0 if rng.random() < _WHITE_SHARE else rng.uniform(*_NOISE_FALL)
    spectrum *= (np.maximum(hertz, 60.0) / 1000.0) ** -fall
    sound = np.fft.irfft(spectrum, count)
    if rng.random() < _SWELL_SHARE:
        points = rng.uniform(0.3, 1.0, max(2, int(seconds * rng.uniform(0.5, 5.0))))
        sound *= np.interp(np.arange(count), np.linspace(0, count, len(points)), points)
    level = float(np.sqrt(np.mean(sound**2)))
    return np.asarray(sound * (0.1 / level), np.float32)


def noise_mels(count: int, seed: int, seconds: float = 6.0) -> Float32:
    """Return the mels of random noises: (count, 80, columns) float32."""
    rng = np.random.default_rng(seed)
    return np.stack([mel_spectrogram(noise(rng, seconds)) for _ in range(count)])


def _chords(sound: Sound, rng: np.random.Generator, plan: _Plan) -> None:
    every, scale, key = plan
    played, level = _instrument(rng), rng.uniform(0.3, 1.0)
    for start in np.arange(0, len(sound) / MODEL_RATE, every):
        root = int(rng.integers(len(scale)))
        for step in range(0, 2 * int(rng.integers(1, 5)), 2):
            degree = root + step
            note = key + int(scale[degree % len(scale)]) + 12 * (degree // len(scale))
            _add(sound, start, level * _tone(note, min(every * 1.3, 2.0), played, rng))


def _line(sound: Sound, rng: np.random.Generator, plan: _Plan) -> None:
    every, scale, key = plan
    played, level, degree = _instrument(rng), rng.uniform(0.4, 1.5), 0
    for start in np.arange(0, len(sound) / MODEL_RATE, max(every, 0.1)):
        degree = int(np.clip(degree + rng.integers(-3, 4), -4, 10))
        if rng.random() < 0.2:
            continue
        note = key + int(scale[degree % len(scale)]) + 12 * (degree // len(scale))
        _add(sound, start, level * _tone(note, every * rng.uniform(0.5, 1.5), played, rng))


def _tone(note: int, seconds: float, played: _Instrument, rng: np.random.Generator) -> Sound:
    hertz = 440.0 * 2.0 ** ((note - 69) / 12.0)
    at = np.arange(int(max(seconds, 0.08) * MODEL_RATE)) / MODEL_RATE
    sway = played.vibrato * np.sin(2 * np.pi * rng.uniform(4.5, 6.5) * at)
    phase = 2 * np.pi * np.cumsum(hertz * (1 + sway)) / MODEL_RATE
    tone = np.zeros(len(at))
    for k in range(1, min(24, int(7600 / hertz)) + 1):
        weight = k**-played.slope * (played.even if k % 2 == 0 else 1.0)
        tone += weight * np.sin(k * phase + rng.uniform(0, 2 * np.pi))
    if played.drive:
        tone = np.tanh(played.drive * tone)
    swell = np.minimum(1.0, at / played.attack_s) * np.exp(-at / played.decay_s)
    return np.asarray(tone * swell * np.minimum(1.0, (at[-1] - at) / 0.03))


def _drums(sound: Sound, rng: np.random.Generator, every: float) -> None:
    level, cymbals = rng.uniform(0.5, 3.0), rng.uniform(0.1, 1.2)
    pattern = rng.random((2, 8)) < np.array([[0.45], [0.7]])
    at = np.arange(int(0.25 * MODEL_RATE)) / MODEL_RATE
    for number, start in enumerate(np.arange(0, len(sound) / MODEL_RATE, max(every, 0.1))):
        if pattern[0, number % 8]:
            fall = rng.uniform(45, 70) + 110 * np.exp(-at / 0.03)
            body = np.sin(2 * np.pi * np.cumsum(fall) / MODEL_RATE) * np.exp(-at / 0.09)
            snare = rng.standard_normal(len(at)) * np.exp(-at / 0.06) * rng.choice([0.05, 0.7])
            _add(sound, start, level * (body + snare))
        if pattern[1, number % 8]:
            hiss = np.diff(rng.standard_normal(len(at) + 1)) * np.exp(-at / rng.uniform(0.02, 0.12))
            _add(sound, start, cymbals * hiss)


def _in_room(sound: Sound, rng: np.random.Generator) -> Sound:
    at = np.arange(int(0.6 * MODEL_RATE)) / MODEL_RATE
    tail = rng.standard_normal(len(at)) * np.exp(-at / rng.uniform(0.05, 0.25))
    tail *= rng.uniform(0.1, 0.6) / np.linalg.norm(tail)
    size = len(sound) + len(tail)
    wet = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(tail, size), size)
    return np.asarray(sound + wet[: len(sound)])


def _add(sound: Sound, start: float, stroke: Sound) -> None:
    first = int(start * MODEL_RATE)
    length = min(len(stroke), len(sound) - first)
    if length > 0:
        sound[first : first + length] += stroke[:length]
