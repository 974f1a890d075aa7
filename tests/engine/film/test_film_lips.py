"""How lips stand in a film is known against the same person's at rest, and does not stay in it."""

import numpy as np
import pytest

from lipstream.film.face_tracks import ROW, FaceTracks
from lipstream.film.job import FaceChoice
from lipstream.film.speaker_selection import SelectionOptions, lips_from_rest, select_speaker
from lipstream.lips.shape import MEASURES, SPREAD, LipFrame, measure_lips
from lipstream.mouth.lip_edges import find_lips
from mouth_faces import compositor, found, opened, portrait, target


def rows(gaps, track=0, rest=0.3):
    """Return rows of one face whose measures are ``rest`` and, in spreads, ``gaps`` more."""
    made = np.zeros(len(gaps), ROW)
    made["frame"], made["track"], made["score"] = np.arange(len(gaps)), track, 1.0
    made["lips"] = rest + np.asarray(gaps, np.float32)[:, None] * SPREAD
    made["crop"] = np.array([[60, 0, 10], [0, 60, 10]], np.float32)
    made["size"] = 60.0
    return made


def test_lips_are_told_from_those_of_the_most_closed_frames():
    gaps = [0, 0, 0, 1, 2, 3, 4, 5, 2, 1]
    lips = lips_from_rest(rows(gaps))
    assert lips == pytest.approx(np.repeat(np.float32(gaps)[:, None], MEASURES, 1), abs=1e-4)


def test_each_person_has_a_rest_of_their_own():
    both = np.concatenate([rows([0, 0, 3], 0, 0.2), rows([0, 0, 3], 1, 0.4)])
    lips = lips_from_rest(both)
    assert lips[2, 0] == pytest.approx(3, abs=1e-3)
    assert lips[5, 0] == pytest.approx(3, abs=1e-3)


def test_the_track_of_a_speaker_says_how_the_lips_stand_in_each_frame():
    seen = rows([0, 0, 0, 0, 4, 4, 4, 0, 0, 0])
    track = select_speaker(FaceTracks(seen, 10), FaceChoice(), 25, SelectionOptions())
    assert track.lips is not None
    assert track.lips[5, 0] == pytest.approx(4, abs=1e-3)
    assert track.lips[0, 0] == pytest.approx(0, abs=1e-3)


def test_where_no_mesh_was_seen_nothing_is_known_of_lips():
    seen = rows([0, 1, 2])
    seen["lips"] = np.nan
    track = select_speaker(FaceTracks(seen, 3), FaceChoice(), 25, SelectionOptions())
    assert track.lips is None


def test_lips_known_to_be_open_close_and_those_of_the_film_do_not_stay():
    still = portrait()
    filmed = found(compositor().patch(target(still), LipFrame(opened(4.0).measures)).image())
    own = ((measure_lips(filmed.points) - measure_lips(still.points)) / SPREAD).astype(np.float32)
    shapes = compositor()
    known = shapes.target(filmed.image, filmed.crop, filmed.points, own=own)
    at_rest = found(shapes.patch(known, LipFrame(np.zeros(MEASURES, np.float32))).image())
    left = (measure_lips(at_rest.points) - measure_lips(still.points)) / SPREAD
    chin, gap = 7, 0
    assert own[gap] > 2.0
    assert abs(left[gap]) < 0.3 * own[gap]
    assert abs(left[chin]) < 0.4 * own[chin]


@pytest.mark.slow
def test_pursed_lips_are_open_in_the_middle_alone():
    still = portrait()
    face = found(compositor().patch(target(still), LipFrame(opened(5.0).measures)).image())
    place = target(face)
    mesh = place.frame.places(face.points.astype(np.float64) - 0.5)
    pursed = np.zeros(MEASURES, np.float32)
    pursed[0], pursed[3] = 5.0, -3.0
    curves = find_lips(face.image, place.frame, mesh, np.ones(3), pursed)
    gap = (curves.lower - curves.upper)[:, 1]
    assert gap[16] > 0.02
    assert gap[[3, -4]].max() < 0.3 * gap[16]
