import numpy as np
import pytest

from lipstream.audio.jitter_buffer import WINDOW_SECONDS, JitterBuffer, LossConcealer

RATE, BLOCK, PIECE = 48_000, 960, 480


def speech(seconds, pause_every=1.0):
    """Numbered loud samples, with a pause of 0.3 s in each second."""
    count = int(seconds * RATE)
    sound = (1000 + np.arange(count) % 20_000).astype(np.int16)
    at = np.arange(count) % int(pause_every * RATE)
    sound[at > int(0.7 * pause_every * RATE)] = 0
    return sound


def run(sound, late_ms, lost=frozenset(), buffer=None):
    """Play blocks that come ``late_ms(k)`` after their time; return what came out, and the delay.

    The delay of each piece is that of the newest sound in it, in ms; None where it is silent.
    """
    buffer = buffer or JitterBuffer(RATE)
    arrivals = sorted(
        (int((k + 1) * BLOCK + late_ms(k) * 48), k)
        for k in range(len(sound) // BLOCK)
        if k not in lost
    )
    out, now = [], 0
    while arrivals or now < len(sound):
        while arrivals and arrivals[0][0] <= now + PIECE:  # taken when the piece is over
            at, k = arrivals.pop(0)
            buffer.push(sound[k * BLOCK : (k + 1) * BLOCK], at, k * BLOCK)
        piece = np.empty(PIECE, np.int16)
        buffer.take(piece, now)
        out.append(piece)
        now += PIECE
    return np.concatenate(out), buffer


def test_even_sound_comes_out_untouched_and_soon():
    sound = speech(3.0)
    out, buffer = run(sound, lambda k: 1.0)
    first = int(np.flatnonzero(out)[0])
    assert first <= 50 * 48  # 20 ms of block, 25 ms of caution, a piece
    found = out[np.flatnonzero(out)]
    wanted = sound[sound != 0]
    np.testing.assert_array_equal(found, wanted[: len(found)])
    assert buffer.stats().starved == 0


def test_uneven_sound_is_held_as_long_as_it_is_uneven_and_no_longer():
    rng = np.random.default_rng(1)
    lateness = rng.uniform(0, 50, 500)
    sound = speech(10.0)
    out, buffer = run(sound, lambda k: lateness[k])
    after = out[3 * RATE :]
    holes = np.count_nonzero((after[1:] == 0) & (after[:-1] != 0))
    assert holes <= 9  # the pauses, and hardly more
    assert 45 * 48 <= buffer.stats().unevenness <= 51 * 48
    _, buffer = run(speech(20.0), lambda k: lateness[k] if k < 250 else 0.0)
    assert buffer.stats().unevenness == 0
    assert buffer.stats().waiting <= BLOCK + 12 * 48


def test_one_late_block_raises_the_delay_at_once_and_it_comes_down_in_pauses():
    def late(k):
        return max(0.0, 80.0 - 20 * (k - 30)) * (k >= 30)

    _, buffer = run(speech(1.0), late)
    assert buffer.stats().starved >= 40 * 48  # 80 less what was held out of caution
    assert buffer.stats().unevenness == 80 * 48
    _, buffer = run(speech(4.0 + 2 * WINDOW_SECONDS), late)
    assert buffer.stats().waiting <= BLOCK + 15 * 48


def test_lost_blocks_do_not_raise_the_delay():
    rng = np.random.default_rng(2)
    lost = frozenset(np.flatnonzero(rng.random(1000) < 0.05).tolist())
    sound = speech(20.0)
    out, buffer = run(sound, lambda k: 0.0, lost)
    assert buffer.stats().waiting <= BLOCK + 12 * 48
    concealed = np.count_nonzero(sound) - np.count_nonzero(out)
    assert concealed <= 0.06 * np.count_nonzero(sound)


def test_what_comes_twice_counts_once_and_what_comes_after_its_turn_is_dropped():
    buffer = JitterBuffer(RATE)
    block = np.full(BLOCK, 5, np.int16)
    buffer.push(block, 1000, 0)
    buffer.push(block, 1100, 0)
    assert buffer.stats().waiting == BLOCK
    out = np.empty(BLOCK, np.int16)
    buffer.take(out, 4000)
    assert np.count_nonzero(out) == BLOCK
    buffer.push(block, 5000, 0)
    assert buffer.stats().dropped == BLOCK


def test_a_burst_after_a_stall_is_cut_to_what_is_needed():
    _, buffer = run(speech(8.0), lambda k: max(0.0, 1000.0 - 20 * (k - 100)) * (100 <= k < 150))
    assert buffer.stats().dropped > 0.5 * RATE
    assert buffer.stats().waiting <= 0.2 * RATE


def test_words_are_never_torn_for_the_delay():
    rng = np.random.default_rng(3)
    lateness = np.where(np.arange(600) < 250, rng.uniform(0, 60, 600), 0.0)
    sound = speech(12.0)
    out, buffer = run(sound, lambda k: lateness[k])
    tail = out[6 * RATE :]
    loud = tail[tail != 0].astype(int)
    steps = np.diff(loud)
    torn = np.count_nonzero((steps != 1) & (steps > -10_000))
    assert torn <= 7  # a word ends and another begins: one step each
    assert buffer.stats().starved < 0.2 * RATE


def test_a_new_stream_begins_where_its_count_begins():
    buffer = JitterBuffer(RATE)
    for k in range(20):
        buffer.push(np.full(BLOCK, 3, np.int16), k * BLOCK, k * BLOCK)
        buffer.take(np.empty(BLOCK, np.int16), k * BLOCK)
    buffer.push(np.full(BLOCK, 4, np.int16), 20 * BLOCK, 900_000_000)
    assert buffer.stats().waiting <= 3 * BLOCK
    out = np.empty(4 * BLOCK, np.int16)
    buffer.take(out, 21 * BLOCK)
    assert np.any(out == 4)


@pytest.mark.parametrize("step", [480, 960, 1920])
def test_without_a_count_blocks_follow_each_other(step):
    buffer = JitterBuffer(RATE)
    sound = speech(1.0)
    out = np.empty(RATE, np.int16)
    for at in range(0, RATE, step):
        buffer.push(sound[at : at + step], at)
        buffer.take(out[at : at + step], at)
    first = int(np.flatnonzero(out)[0])
    assert first < 3000
    np.testing.assert_array_equal(out[first:30_000], sound[: 30_000 - first])


def vowel(seconds=1.0, pitch=110.0):
    """A voice that glides a little: harmonics that fall off with 12 dB an octave."""
    at = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * pitch * (at + 0.01 * np.sin(2 * np.pi * 1.5 * at))
    return (6000 * sum(np.sin(k * phase + k * k) / k**2 for k in range(1, 30))).astype(np.int16)


def concealed(sound, held, piece=PIECE):
    """Return a sound whose samples outside ``held`` were lost, as it is handed out."""
    out, concealer = np.where(held, sound, 0).astype(np.int16), LossConcealer(RATE)
    for at in range(0, len(out), piece):
        concealer.patch(out[at : at + piece], held[at : at + piece])
    return out


def with_holes(count, share, length):
    held = np.ones(count, np.bool_)
    for first in np.flatnonzero(np.random.default_rng(4).random(count // length) < share):
        held[max(first, 4) * length :][:length] = False
    return held


def spectral_distance(found, sound, held):
    """Root mean square of the difference of log spectra, bels, where something was lost."""
    window = np.hanning(BLOCK)
    found, wanted = (
        np.log10(np.abs(np.fft.rfft(pcm.reshape(-1, BLOCK) * window)) + 100.0)
        for pcm in (found, sound)
    )
    return np.sqrt(np.mean((found - wanted)[~held.reshape(-1, BLOCK).all(axis=1)] ** 2))


@pytest.mark.parametrize("pitch", [80.0, 110.0, 220.0])
@pytest.mark.parametrize("length", [480, 960])
def test_a_voice_goes_on_through_what_is_lost(pitch, length):
    sound = vowel(2.0, pitch)
    held = with_holes(len(sound), 0.05, length)
    assert (~held).any()
    found = concealed(sound, held)
    np.testing.assert_array_equal(found[:960], sound[:960])
    silence = spectral_distance(np.where(held, sound, 0), sound, held)
    assert spectral_distance(found, sound, held) < 0.4 * silence
    assert (
        np.abs(np.diff(found.astype(int))).max() <= 1.5 * np.abs(np.diff(sound.astype(int))).max()
    )


@pytest.mark.parametrize("piece", [120, 480, 960])
def test_a_long_hole_fades_to_silence_whatever_the_pieces(piece):
    sound, held = vowel(0.5), np.ones(RATE // 2, np.bool_)
    held[9600:19_200] = False
    found = concealed(sound, held, piece)
    loud = [np.abs(found[at : at + 480].astype(int)).max() for at in range(9600, 19_200, 480)]
    assert loud[0] > 0.8 * np.abs(sound[8640:9600].astype(int)).max()
    assert loud[3] < 0.8 * loud[0]
    assert loud[6:] == [0] * 14
    np.testing.assert_array_equal(found[19_200 + 192 :], sound[19_200 + 192 :])
    np.testing.assert_array_equal(found[:19_200], concealed(sound, held)[:19_200])


def test_after_silence_nothing_is_made_up():
    sound, held = np.zeros(RATE // 2, np.int16), np.ones(RATE // 2, np.bool_)
    held[9600:10_560] = False
    assert not concealed(sound, held).any()


def test_a_packet_lost_in_a_word_leaves_no_silence():
    sound = vowel(2.0)
    out, _ = run(sound, lambda k: 0.0, lost=frozenset({30, 60}))
    quiet = np.abs(out.reshape(-1, 240).astype(int)).max(axis=1) < 500
    first, last = np.flatnonzero(~quiet)[[0, -1]]
    assert not quiet[first : last + 1].any()


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_late_lost_or_not_sent_pieces_come_out(seed):
    rng = np.random.default_rng(seed)
    sound = vowel(6.0, 120.0)
    sound[2 * RATE : 3 * RATE] = rng.integers(-40, 40, RATE)
    spread, share = rng.choice([0, 5, 30, 90]), rng.choice([0.0, 0.05, 0.3])
    lateness = rng.uniform(0, spread, 300)
    lost = set(np.flatnonzero(rng.random(300) < share).tolist())
    lost |= set(range(rng.integers(50, 150), rng.integers(150, 250)))  # a pause that is not sent
    out, _ = run(sound, lambda k: lateness[k], frozenset(lost))
    assert len(out) >= len(sound)
    assert np.abs(out.astype(int)).max() <= np.abs(sound.astype(int)).max() + 1


def test_a_piece_of_no_samples_is_nothing_to_conceal():
    concealer = LossConcealer(RATE)
    concealer.patch(np.zeros(PIECE, np.int16), np.zeros(PIECE, np.bool_))
    concealer.patch(np.zeros(0, np.int16), np.zeros(0, np.bool_))
