"""``lipstream evaluate``: measure a mouth model on clips that it was not trained on.

A model that paints pixels is measured on prepared crops, a model of lip shapes on whole films, and
a rendered avatar on renders of its own mouth shapes.
"""

import argparse
import contextlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lipstream.errors import InputError

if TYPE_CHECKING:
    from lipstream.face.landmarks import FaceMesh
    from lipstream.types import Float32, Image
    from lipstream_models.corpora.grid_corpus import PreparedFolder
    from lipstream_models.evaluation.metrics import (
        EvaluationReport,
        Lpips,
        MetricRange,
        ShapeReport,
    )
    from lipstream_models.evaluation.shape_evaluation import ShapeClip
    from lipstream_models.evaluation.sync_scorer import SyncScorer

log = logging.getLogger(__name__)

_ON_THE_SHEET = 5
"""Clips on the picture."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "model",
        type=Path,
        help="checkpoint of a Wav2Lip, an exported folder, for --films an embedded model's name, or"
        " for --shapes an avatar, whose teeth are drawn",
    )
    clips = parser.add_mutually_exclusive_group(required=True)
    clips.add_argument("--clips", type=Path, help="folder made by 'train prepare', for pixels")
    clips.add_argument("--films", type=Path, help="folder of films of 3 s, for lip shapes")
    clips.add_argument(
        "--shapes",
        type=Path,
        help="folder of 'synthetic.blender render --shapes N --shape-size 512', for an avatar",
    )
    parser.add_argument(
        "--all", action="store_true", help="every clip, for speakers never trained on"
    )
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="only N clips")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="picture: truth, network")
    scorer = parser.add_mutually_exclusive_group()
    scorer.add_argument(
        "--scorer", type=Path, metavar="FILE", help="sync scorer, else the embedded"
    )
    scorer.add_argument("--no-scorer", action="store_true", help="do not score sync")
    scorer.add_argument(
        "--syncnet", type=Path, metavar="FILE", help="score by the published SyncNet_color instead"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")


def run(arguments: argparse.Namespace) -> int:
    """Evaluate and print the medians."""
    _check_sheet(arguments.sheet)
    if arguments.shapes is not None:
        return _run_shapes(arguments)
    if arguments.films is None:
        return _run_pixels(arguments)
    report = evaluate_films(
        arguments.model,
        arguments.films,
        FilmSettings(arguments.limit, arguments.sheet, _open_scorer(arguments), arguments.threads),
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(asdict(report), indent=1), "utf-8")
    print(f"{len(report.clips)} clips of {report.films_from}")
    _print_summary(report.summary)
    return 0


@dataclass(frozen=True, slots=True)
class FilmSettings:
    """How films are judged."""

    limit: int = 0
    """Clips, spread over the folder; 0 for all."""
    sheet: Path | None = None
    """A picture of the film, the resting frame that speaks, and the same with the film's lips."""
    scorer: "SyncScorer | None" = None
    threads: int = 1


def evaluate_films(model: Path, films: Path, settings: FilmSettings) -> "ShapeReport[ShapeClip]":
    """Judge a folder of a model of shapes on a folder of films. Raises LipstreamError."""
    import cv2  # noqa: PLC0415
    import torch  # noqa: PLC0415

    from lipstream.inference.manifest import embedded_models, model_folder, read_manifest  # noqa: PLC0415
    from lipstream_models.corpora.grid_corpus import find_clips  # noqa: PLC0415
    from lipstream_models.evaluation import shape_evaluation as shapes  # noqa: PLC0415
    from lipstream_models.evaluation.metrics import summarise_shapes  # noqa: PLC0415

    folder = model_folder(model)
    if not folder.is_dir() or read_manifest(folder).paints != "shape":
        raise InputError(
            f"{model} is no folder of a model of lip shapes, and no embedded one"
            f" ({', '.join(embedded_models())}): films are for those; for others name prepared"
            " crops, --clips FOLDER"
        )
    torch.set_num_threads(settings.threads)
    cv2.setNumThreads(settings.threads)
    paths = find_clips(films)
    paths = paths[:: -(-len(paths) // settings.limit)] if settings.limit else paths
    clips, rows = [], []
    with shapes.ShapeEvaluation(folder, settings.scorer, _open_lpips()) as evaluation:
        for path in paths:
            after = paths[(paths.index(path) + 1) % len(paths)]
            truth, other = evaluation.read(path), evaluation.read(after)
            clips.append(evaluation.clip(truth, other))
            if settings.sheet:
                spoken, moved = (
                    evaluation.speak(truth, truth.sound),
                    evaluation.move(truth, truth.lips),
                )
                rows.append(shapes.sheet_row(truth, (spoken, moved)))
    if settings.sheet:
        cv2.imwrite(str(settings.sheet), shapes.join_rows(rows))
    return summarise_shapes(str(model), str(films), clips)


@dataclass(frozen=True, slots=True)
class DrawnShape:
    """A rendered mouth against the same drawn from the resting picture; the mesh looks at both."""

    name: str
    lmd_percent: float
    """Mean distance of the lip points in the frame of the head, % of the outer-eye distance."""
    lve_percent: float
    """Distance of the lip point furthest astray."""
    rendered_gap: float
    """SPREADs from rest."""
    drawn_gap: float
    sharpness: float
    """Variance of the Laplacian in the mouth's box over the render's."""
    mouth_sharpness: float
    """The same of the lips and what is between them alone."""


_LEAST_GAP = 2.0
"""SPREADs of gap of a rendered shape that is judged, at least."""


def judge_shapes(avatar: Path, folder: Path) -> "ShapeReport[DrawnShape]":
    """Draw the shapes of a rendered person from the resting picture, and compare.

    ``folder`` was filled by ``synthetic.blender render --shapes``. The mesh tells what lips a
    render shows; these the compositor draws from the plate, with the teeth of the avatar. The slope
    of drawn gaps on rendered ones, through rest, is added to the summary. Raises LipstreamError.
    """
    from lipstream.face.landmarks import FaceMesh  # noqa: PLC0415
    from lipstream_models.evaluation.metrics import MetricRange, summarise_shapes  # noqa: PLC0415

    paths = sorted((folder / "library").glob("*.png"))
    if not paths:
        raise InputError(f"{folder} holds no rendered shapes: render with --shapes 60 first")
    with contextlib.closing(FaceMesh.open()) as mesh:
        drawn = list(_draw_shapes(avatar, folder / "small.png", paths, mesh))
    shapes = [shape for shape in drawn if shape.rendered_gap >= _LEAST_GAP]
    if not shapes:
        raise InputError(f"in no picture of {folder / 'library'} are the lips parted")
    report = summarise_shapes(str(avatar), str(folder), shapes)
    pairs = [(shape.rendered_gap, shape.drawn_gap) for shape in shapes]
    slope = sum(a * b for a, b in pairs) / sum(a * a for a, _ in pairs)
    report.summary["gap_slope"] = MetricRange(slope, slope, slope)
    return report


def _draw_shapes(
    avatar: Path, resting: Path, paths: Sequence[Path], mesh: "FaceMesh"
) -> Iterator[DrawnShape]:
    """Yield every shape, drawn from the picture ``resting`` and seen."""
    from lipstream.avatar.pack import Avatar  # noqa: PLC0415
    from lipstream.face.crop import fit_crop  # noqa: PLC0415
    from lipstream.lips.shape import SPREAD, LipFrame, measure_lips  # noqa: PLC0415
    from lipstream.live.compositor import open_shapes  # noqa: PLC0415
    from lipstream.media import read_picture  # noqa: PLC0415
    from lipstream.mouth.prepare import LipFinder, shape_targets  # noqa: PLC0415
    from lipstream_models.evaluation import metrics, shape_evaluation  # noqa: PLC0415

    plate, compositor = read_picture(resting), open_shapes()
    crop = fit_crop(shape_evaluation.find_points(plate[None], mesh)[0])
    finder = LipFinder(mesh)
    rest = finder.points(plate, crop)
    teeth = Avatar.open(avatar).open_mouth
    (target,) = shape_targets(plate[None], crop[None], compositor, teeth)
    for path in paths:
        rendered = read_picture(path)
        points = finder.points_near(rendered, rest)
        lips = (measure_lips(points) - measure_lips(rest)) / SPREAD
        drawn = compositor.patch(target, LipFrame(lips)).image()
        seen = finder.points_near(drawn, rest)
        pairs = zip(_sharpness(drawn, seen, rest), _sharpness(rendered, points, rest), strict=True)
        drawn_lips, rendered_lips = (
            shape_evaluation.head_places(one[None]) for one in (seen, points)
        )
        yield DrawnShape(
            path.stem,
            metrics.landmark_distance(drawn_lips, rendered_lips),
            metrics.lip_vertex_error(drawn_lips, rendered_lips),
            float(lips[0]),
            float((measure_lips(seen) - measure_lips(rest))[0] / SPREAD[0]),
            *(mine / max(true, 1e-9) for mine, true in pairs),
        )


def _sharpness(image: "Image", points: "Float32", rest: "Float32") -> tuple[float, float]:
    """Return the variance of the Laplacian in the mouth's box at rest, and in the mouth itself."""
    import numpy as np  # noqa: PLC0415

    from lipstream_models.evaluation import metrics  # noqa: PLC0415

    inside, lips, _ = metrics.mouth_masks(points, image.shape)
    box = np.zeros(image.shape[:2], np.bool_)
    box[metrics.mouth_box(rest, image.shape)] = True
    return metrics.laplacian_variance(image, box), metrics.laplacian_variance(image, inside | lips)


def _run_shapes(arguments: argparse.Namespace) -> int:
    report = judge_shapes(arguments.model, arguments.shapes)
    if arguments.json:
        arguments.json.write_text(json.dumps(asdict(report), indent=1), "utf-8")
    print(f"{len(report.clips)} shapes of {report.films_from}")
    _print_summary(report.summary)
    return 0


def _open_lpips() -> "Lpips | None":
    """Return the judge of how different pictures look, None where its weights are not there."""
    from lipstream.errors import BackendUnavailable  # noqa: PLC0415
    from lipstream_models.evaluation.metrics import Lpips  # noqa: PLC0415

    try:
        return Lpips.open()
    except BackendUnavailable as missing:
        print(f"without LPIPS: {missing}")
        return None


def _run_pixels(arguments: argparse.Namespace) -> int:
    """Measure a network that paints, on prepared crops."""
    import cv2  # noqa: PLC0415
    import torch  # noqa: PLC0415

    from lipstream.face.landmarks import FaceMesh  # noqa: PLC0415
    from lipstream_models.corpora.grid_corpus import PreparedFolder  # noqa: PLC0415
    from lipstream_models.evaluation.evaluate import Evaluation, make_sheet, open_renderer  # noqa: PLC0415
    from lipstream_models.evaluation.metrics import summarise  # noqa: PLC0415

    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    folder = PreparedFolder(arguments.clips)
    rows = choose_rows(folder, every=arguments.all, limit=arguments.limit)
    mesh = FaceMesh.open(threads=arguments.threads)
    evaluation = Evaluation(open_renderer(arguments.model), folder, mesh, _open_scorer(arguments))
    report = summarise(
        str(arguments.model),
        str(arguments.clips),
        [evaluation.clip(row) for row in rows],
        [evaluation.still(row) for row in rows],
    )
    if arguments.sheet:
        sheet_rows = rows[:: -(-len(rows) // _ON_THE_SHEET)]
        cv2.imwrite(str(arguments.sheet), make_sheet(evaluation, sheet_rows))
    if arguments.json:
        arguments.json.write_text(json.dumps(asdict(report), indent=1), "utf-8")
    mesh.close()
    _print(report)
    return 0


def _open_scorer(arguments: argparse.Namespace) -> "SyncScorer | None":
    """Open the sync scorer asked for; the embedded one is left out where there is none."""
    from lipstream_models.evaluation import sync_scorer  # noqa: PLC0415
    from lipstream_models.networks.sync_networks import load_syncnet  # noqa: PLC0415

    if arguments.syncnet:
        return sync_scorer.SyncNetScorer(load_syncnet(arguments.syncnet))
    if arguments.scorer:
        return sync_scorer.OwnSyncScorer(sync_scorer.load_sync_network(arguments.scorer))
    if arguments.no_scorer:
        return None
    if not sync_scorer.EMBEDDED.exists():
        log.warning("in step or not is not judged: packages leave out the scorer; give --scorer")
        return None
    return sync_scorer.OwnSyncScorer(sync_scorer.load_sync_network())


def choose_rows(folder: "PreparedFolder", *, every: bool, limit: int) -> Sequence[int]:
    """Return the rows to measure, spread over the folder. Raises InputError when there are none."""
    from lipstream_models.corpora.grid_corpus import split_rows  # noqa: PLC0415

    trained_on, held_out = split_rows(folder)
    rows = sorted(int(row) for row in ([*trained_on, *held_out] if every else held_out))
    if not rows:
        raise InputError(f"{folder.folder} holds out no clips: use --all for other speakers")
    return rows[:: -(-len(rows) // limit)] if limit else rows


def _check_sheet(path: Path | None) -> None:
    if path and (path.suffix not in (".png", ".jpg") or not path.parent.is_dir()):
        raise InputError(f"--sheet {path}: name a .png or .jpg in a folder that exists")


def _print(report: "EvaluationReport") -> None:
    print(f"{len(report.clips)} clips of {report.clips_from}")
    _print_summary(report.summary)


def _print_summary(summary: "dict[str, MetricRange]") -> None:
    print(f"{'':32} {'median':>9} {'lowest':>9} {'highest':>9}")
    for name, middle in summary.items():
        print(f"{name:32} {middle.median:9.3f} {middle.lowest:9.3f} {middle.highest:9.3f}")
