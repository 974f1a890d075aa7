"""Phones of speech synthesizers and aligners, as fourteen classes that lips tell apart.

Lips show less than ears hear: p, b and m look the same, and so do k and g. A phone that glides, as
in "boy", is a row of classes. A phone for which no class is known is None: it decides nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lipstream.types import Float32

CLASSES = (*("sil", "MBP", "FV", "UW", "OW", "AA", "EH", "IY", "SZ", "TDN", "SH", "KG", "L", "TH"),)
"""Names of the classes, in the order of the network's output."""
COLUMNS_A_SECOND = 80
_INDEX = {name: index for index, name in enumerate(CLASSES)}

LipClasses = tuple[int, ...]
"""Indices into CLASSES, one after the other within a phone."""


def _table(*rows: str) -> dict[str, LipClasses]:
    """Read rows "CLASS CLASS: phone phone" into phone -> classes."""
    table: dict[str, LipClasses] = {}
    for row in rows:
        names, _, phones = row.partition(":")
        for phone in phones.split():
            table[phone] = tuple(_INDEX[name] for name in names.split())
    return table


_ARPABET = _table(
    "sil: pau sil sp h ssil brth <sil> #",
    "MBP: p b m em",
    "FV: f v",
    "UW: w uw uh",
    "OW: ao",
    "OW UW: ow",
    "OW IY: oy",
    "AA: aa ae",
    "AA IY: ay",
    "AA UW: aw",
    "EH: ah ax eh er axr",
    "EH IY: ey",
    "IY: iy ih y",
    "SZ: s z",
    "TDN: t d n dx en",
    "SH: sh zh ch jh r",
    "KG: k g ng hh hv",
    "L: l el",
    "TH: th dh",
)
_ESPEAK_LONG = _table(
    "SH: tS dZ r-",
    "SZ: ts dz",
    "AA IY: aI",
    "EH IY: eI",
    "OW IY: OI",
    "AA UW: aU",
    "OW UW: oU @U",
    "MBP FV: pF",
)
_ESPEAK = _table(
    "MBP: p b m M",
    "FV: f v F",
    "UW: w u U y Y W",
    "OW: o O Q 0",
    "AA: a A &",
    "EH: E e V @ 3",
    "IY: i I j J",
    "SZ: s z",
    "TDN: t d n",
    "SH: S Z C",
    "KG: k g x h N c q ? X H G",
    "L: l L r R",
    "TH: T D",
)
_IPA = _table(
    "MBP: p b m ɱ ɓ",
    "FV: f v ɸ β ʋ",
    "UW: w u ʊ y ʏ ɥ ɯ ʍ",
    "OW: o ɔ ɒ ø œ ɵ",
    "AA: a ɑ æ ɐ ɶ",
    "EH: ə ɛ ɜ e ʌ ɚ ɝ ɘ ɤ ᵻ",
    "IY: i ɪ j ɨ",
    "SZ: s z ɕ ʑ",
    "TDN: t d n ɾ ɳ ʈ ɖ ɲ",
    "SH: ʃ ʒ ɹ ʂ ʐ ɻ",
    "KG: k ɡ g ŋ h x ç ɣ q χ ʁ ħ ʕ ʔ c ɟ ɦ",
    "L: l ɫ ʎ ɭ r ʀ",
    "TH: θ ð",
)


def classes_of_arpabet(phone: str) -> LipClasses | None:
    """Return the classes of an ARPAbet phone, as CMU's dictionary and flite write it."""
    name = phone.lower().strip("0123456789")
    return (0,) if not name or name.startswith("+") else _ARPABET.get(name)


def classes_of_espeak(mnemonic: str, english: bool = False) -> LipClasses | None:
    """Return the classes of one of espeak-ng's mnemonics; English has an r of its own."""
    if not mnemonic.strip("_:"):
        return (0,)
    if english and mnemonic.startswith("r"):
        return (_INDEX["SH"],)
    return _ESPEAK_LONG.get(mnemonic[:2]) or _ESPEAK.get(mnemonic[0])


def classes_of_ipa(symbol: str) -> LipClasses | None:
    """Return the classes of a symbol of the International Phonetic Alphabet, as Piper speaks it."""
    return (0,) if not symbol.strip(" .,;:!?_^$") else _IPA.get(symbol[0])


@dataclass(frozen=True, slots=True)
class Phone:
    """What is spoken from one moment to another."""

    classes: LipClasses | None
    start: int
    """First sample, at the rate of the sound it belongs to."""
    stop: int
    """One past the last sample."""

    def later(self, samples: int) -> "Phone":
        """Return the phone that many samples later."""
        return Phone(self.classes, self.start + samples, self.stop + samples)

    def resampled(self, rate: int, new_rate: int) -> "Phone":
        """Return the phone in samples of another rate."""
        edges = (round(sample * new_rate / rate) for sample in (self.start, self.stop))
        return Phone(self.classes, *edges)


def class_likelihoods(phones: Sequence[Phone], rate: int, start: int, count: int) -> Float32:
    """Return what phones known beforehand say of mel columns, as the network would: (count, 14).

    Column ``c``, centred ``c / 80`` seconds after sample 0, for c from ``start`` on; a new array.
    Rows are 0 where nothing is known. The classes of a phone share its time evenly.
    """
    known = np.zeros((count, len(CLASSES)), np.float32)
    for phone in phones:
        if not phone.classes:
            continue
        step = (phone.stop - phone.start) / len(phone.classes)
        for place, index in enumerate(phone.classes):
            first, last = (
                _column(phone.start + step * edge, rate) - start for edge in (place, place + 1)
            )
            known[max(first, 0) : max(last, 0), index] = 1.0
    return known


def _column(sample: float, rate: int) -> int:
    """Return the first column whose centre lies at a sample or after it."""
    return int(np.ceil(sample * COLUMNS_A_SECOND / rate))


def with_known_phones(heard: Float32, known: Float32) -> Float32:
    """Return (k, 14) likelihoods: what is known where something is, what was heard elsewhere."""
    return np.where(known.any(1, keepdims=True), known, heard)
