"""Models of lip shapes are judged by whole pictures: what counts, and that the judge can be wrong.

The filmed person is an embedded avatar that the renderer moves by known lips, so the renderer given
the film's own lips must come close to the film, and one that is given none must not.
"""

import json

import cv2
import numpy as np
import pytest
from rich.console import Console

from lipstream.cli import main
from lipstream.face.landmarks import FaceMesh
from lipstream.inference.manifest import embedded_models
from lipstream.lips.shape import LipFrame
from lipstream.timing import MODEL_RATE
from lipstream_bench.command import QualitySettings, compare_quality
from lipstream_models.evaluation import metrics
from lipstream_models.evaluation.shape_evaluation import FilmTruth, join_rows
from media_files import add_sound, tone, write_film
from mouth_faces import compositor, opened, portrait, resized, target

FRAMES = 75


def filmed(path):
    """Write a film of an avatar whose lips open and close twice a second, and a tone with it."""
    face = resized(portrait(), 0.5)
    place, shapes = target(face), compositor()
    pictures = []
    for at in range(FRAMES):
        amount = 1.0 - np.cos(2 * np.pi * at / 12.5)
        lips = opened(2.0 * float(amount))
        picture = shapes.patch(place, LipFrame(lips.measures)).image()
        pictures.append(picture[: len(picture) // 2 * 2, : picture.shape[1] // 2 * 2])
    write_film(path, pictures)
    heard = add_sound(path, tone(MODEL_RATE, 3 * MODEL_RATE)[:, None], MODEL_RATE)
    path.unlink()
    return heard


def test_lips_inside_and_skin_are_told_apart():
    face = portrait()
    inside, lips, skin = metrics.mouth_masks(face.points, face.image.shape)
    assert lips.sum() > 100
    assert skin.sum() > 100
    assert not (inside & lips).any()
    assert not (lips & skin).any()


def test_the_mouth_s_box_stays_in_the_picture():
    face = portrait()
    rows, columns = metrics.mouth_box(face.points + np.float32(1e4), face.image.shape)
    assert rows.stop <= len(face.image)
    assert columns.stop <= face.image.shape[1]


def test_a_still_does_not_flicker_and_a_steady_move_does_not_either():
    ramp = np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
    everywhere = (slice(0, 8), slice(0, 8))
    assert metrics.flicker(ramp, everywhere) == 0.0
    assert metrics.flicker(ramp * (np.arange(10) % 2 == 0)[:, None, None, None], everywhere) > 1.0


def test_a_seam_is_what_changes_at_the_border():
    still = np.full((20, 20, 3), 100, np.uint8)
    soft, hard = still.copy(), still.copy()
    soft[5:15, 5:15] += 1
    soft[8:12, 8:12] += 40
    hard[5:15, 5:15] += 40
    assert metrics.border_change(still, still[None]) == 0.0
    assert metrics.border_change(still, soft[None]) == pytest.approx(1.0)
    assert metrics.border_change(still, hard[None]) == pytest.approx(40.0)


def test_blur_within_the_mask_alone_counts():
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3)).astype(np.uint8)
    mask = np.zeros((40, 40), bool)
    mask[10:20, 10:20] = True
    flat = noise.copy()
    flat[25:, 25:] = 0
    assert metrics.laplacian_variance(flat, mask) == metrics.laplacian_variance(noise, mask)
    flat[5:25, 5:25] = 0
    assert metrics.laplacian_variance(flat, mask) == 0.0


def test_rows_of_a_sheet_lie_in_pairs():
    row = np.ones((4, 6, 3), np.uint8)
    assert join_rows([row]).shape == (4, 6, 3)
    sheet = join_rows([row, row, row])
    assert sheet.shape == (8, 12, 3)
    assert (sheet[4:, 6:] == 0).all()


def test_perceptual_distance_grows_with_blur():
    cv2 = pytest.importorskip("cv2")
    try:
        lpips = metrics.Lpips.open()
    except metrics.BackendUnavailable as missing:
        pytest.skip(str(missing))
    image = portrait().image[None, 200:296, 200:296]
    one, two = (cv2.GaussianBlur(image[0], (0, 0), sigma)[None] for sigma in (1.0, 2.0))
    assert lpips.between(image, image) == 0.0
    assert 0.0 < lpips.between(image, one) < lpips.between(image, two)


def test_films_need_a_model_of_shapes(tmp_path, toy_folder, capsys):
    assert main(["evaluate", str(toy_folder), "--films", str(tmp_path)]) == 2
    assert "--clips" in capsys.readouterr().err


@pytest.mark.parametrize("name", list(embedded_models()))
def test_embedded_models_are_judged_by_their_names(name, tmp_path, capsys):
    assert main(["evaluate", name, "--films", str(tmp_path), "--no-scorer"]) == 2
    assert "no .mkv, .mpg or .mp4 clips" in capsys.readouterr().err


def test_films_are_asked_for(capsys):
    assert main(["bench", "quality"]) == 2
    assert "--films" in capsys.readouterr().err


def test_a_report_that_is_none_is_told(tmp_path, capsys):
    filmed_folder = tmp_path / "films"
    filmed_folder.mkdir()
    report = tmp_path / "before.json"
    report.write_text("[]", "utf-8")
    words = ["bench", "quality", "--films", str(filmed_folder), "--against", str(report)]
    assert main(words) == 2
    assert "before.json" in capsys.readouterr().err


@pytest.mark.slow
def test_the_film_s_own_lips_rest_where_it_rests(tmp_path):
    mesh = FaceMesh.open()
    truth = FilmTruth.read(filmed(tmp_path / "film.mp4"), mesh, None)
    mesh.close()
    assert truth.classes() is None
    gap = truth.lips[:, 0]
    assert abs(float(np.sort(gap)[:8].mean())) < 0.5
    assert 1.0 < float(gap.max()) < 8.0
    assert truth.measures[truth.rest, 0] < np.quantile(truth.measures[:, 0], 0.15)


@pytest.mark.slow
def test_the_film_s_own_lips_come_nearer_than_a_copy_and_silence_changes_nothing(tmp_path, capsys):
    films = tmp_path / "films"
    films.mkdir()
    filmed(films / "film.mp4")
    model, report = str(embedded_models()["low-delay"]), tmp_path / "report.json"
    sheet = tmp_path / "report.png"
    words = ["evaluate", model, "--films", str(films), "--no-scorer", "--json", str(report)]
    assert main([*words, "--sheet", str(sheet)]) == 0
    assert "oracle_lve_percent" in capsys.readouterr().out
    clip = json.loads(report.read_text("utf-8"))["clips"][0]
    assert clip["oracle"]["lve_percent"] < 0.5 * clip["copy_lve_percent"]
    assert clip["oracle"]["gap_correlation"] > 0.95
    assert clip["picture"]["silence_levels"] == 0.0
    assert clip["picture"]["seam_levels"] < 2.0
    assert sheet.is_file()
    compare_quality(
        None, report, QualitySettings(films, sheet=tmp_path / "both.png"), Console(width=120)
    )
    assert (tmp_path / "both.png").is_file()


def rendered_person(folder):
    """Write a folder of shapes whose renders are drawings of an avatar."""
    face = portrait()
    (folder / "library").mkdir()
    cv2.imwrite(str(folder / "small.png"), face.image)
    for index, spreads in enumerate((0.5, 3.0, 5.0)):
        picture = compositor().patch(target(face), opened(spreads)).image()
        cv2.imwrite(str(folder / "library" / f"{index:03}.png"), picture)
    return folder


@pytest.mark.slow
def test_shapes_that_were_drawn_are_drawn_again_as_wide_and_as_sharp(tmp_path, capsys):
    folder, file = rendered_person(tmp_path), tmp_path / "shapes.json"
    assert main(["evaluate", "ada", "--shapes", str(folder), "--json", str(file)]) == 0
    report = json.loads(file.read_text())
    judged = [shape["name"] for shape in report["clips"]]
    assert judged == ["001", "002"]  # the first is hardly open
    assert report["summary"]["gap_slope"]["median"] == pytest.approx(1.0, abs=0.15)
    assert report["summary"]["sharpness"]["median"] == pytest.approx(1.0, abs=0.15)
    assert report["summary"]["lmd_percent"]["median"] < 0.8
    assert "2 shapes of" in capsys.readouterr().out


def test_a_folder_without_renders_is_told(tmp_path, capsys):
    assert main(["evaluate", "ada", "--shapes", str(tmp_path)]) == 2
    assert "render with --shapes" in capsys.readouterr().err
