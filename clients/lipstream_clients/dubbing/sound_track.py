"""All that is heard in a film: its own sound, and the clips over it."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from lipstream_clients.dubbing.programme import Programme
from lipstream_clients.media import Sound, SoundFile, SoundReader

_BLOCKS_A_SECOND = 10


@dataclass(frozen=True, slots=True)
class OwnSound:
    """What is heard between the clips."""

    sound: SoundFile | None
    """None for silence."""
    skipped_s: Fraction = Fraction(0)
    """What of it lies before the film's first frame, seconds; negative when it begins after."""


def sound_of(programme: Programme, own: OwnSound) -> Iterator[Sound]:
    """Yield the film's sound from its first sample to its last."""
    rate, channels = programme.rate, programme.channels
    background = SoundReader(own.sound, rate, channels)
    skipped = round(own.skipped_s * rate)
    background.skip(max(0, skipped)).wait(max(0, -skipped))
    largest, at = rate // _BLOCKS_A_SECOND, 0
    for passage in programme.passages:
        begin = programme.start_of(passage.start) + passage.wait
        samples = min(passage.samples, programme.samples - begin)
        yield from background.blocks(begin - at, largest)
        clip = SoundReader(passage.clip.sound, rate, channels)
        clip.skip(int(passage.clip.start_s * rate))
        yield from clip.blocks(samples, largest)
        background.skip(samples)
        at = begin + samples
    yield from background.blocks(programme.samples - at, largest)
