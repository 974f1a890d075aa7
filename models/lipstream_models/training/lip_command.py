"""``lipstream train voices | align | label | lips``: speech with its phones, and lips from it."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lipstream.errors import InputError
from lipstream_models.training.run_command import add_run_arguments, carry_out, options_of

if TYPE_CHECKING:
    from lipstream_models.corpora.labelled_speech import LabelledSpeech, TimedClass
    from lipstream_models.training.lip_targets import PhoneTeacher
    from lipstream_models.training.lips import Lesson


def add_voices_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``train voices``."""
    parser.add_argument("--engine", choices=("espeak", "flite"), required=True)
    parser.add_argument(
        "--voice", required=True, help="language of espeak-ng (en-us), voice of flite (slt)"
    )
    parser.add_argument("--texts", type=Path, required=True, help="file with a sentence a line")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")


def run_voices(arguments: argparse.Namespace) -> int:
    """Speak every line of a file."""
    import numpy as np  # noqa: PLC0415

    from lipstream_models.corpora.made_voices import (  # noqa: PLC0415
        make_espeak_voice,
        make_flite_voice,
    )

    texts = _read_lines(arguments.texts)
    make = make_espeak_voice if arguments.engine == "espeak" else make_flite_voice
    make(arguments.voice, texts, arguments.out, np.random.default_rng(arguments.seed))
    print(f"{arguments.out}: {len(texts)} recordings")
    return 0


def add_align_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``train align``."""
    parser.add_argument("sounds", type=Path, help="folder of sound or film files")
    parser.add_argument(
        "--texts",
        type=Path,
        help="table of file name and words, a tab between (default: words of GRID clips)",
    )
    parser.add_argument("--out", type=Path, required=True, help="phones.json to write")


def run_align(arguments: argparse.Namespace) -> int:
    """Align every file of a folder that has words."""
    from lipstream_models.corpora.forced_alignment import ForcedAligner, grid_sentence  # noqa: PLC0415
    from lipstream_models.corpora.grid_corpus import read_sound  # noqa: PLC0415

    files = sorted(path for path in arguments.sounds.glob("*.*") if path.suffix != ".json")
    if arguments.texts is None:
        texts = {path.name: grid_sentence(path.stem) for path in files}
    else:
        rows = (line.partition("\t") for line in _read_lines(arguments.texts))
        texts = {name: text for name, _, text in rows}
    aligner, book = ForcedAligner(), {}
    for path in files:
        found = aligner.align(read_sound(path), texts[path.name]) if path.name in texts else None
        if found is not None:
            book[path.name] = found
    arguments.out.write_text(json.dumps(book), "utf-8")
    print(f"{arguments.out}: {len(book)} of {len(files)} aligned")
    return 0


def _read_lines(path: Path) -> list[str]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    return [line.strip() for line in lines if line.strip()]


def add_label_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``train label``."""
    parser.add_argument(
        "--voices",
        type=Path,
        nargs="*",
        default=[],
        metavar="FOLDER",
        help="folders of WAV files with a phones.json: file name -> [[lip class, start_s, end_s]]",
    )
    parser.add_argument("--film", type=Path, help="folder made by 'prepare', besides")
    parser.add_argument(
        "--phones", type=Path, help="phones of the film, as phones.json (default: unknown)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="file to write (.npz)")


def run_label(arguments: argparse.Namespace) -> int:
    """Write a file of labelled speech."""
    import numpy as np  # noqa: PLC0415

    from lipstream_models.corpora.grid_corpus import PreparedFolder  # noqa: PLC0415
    from lipstream_models.corpora.labelled_speech import (  # noqa: PLC0415
        LabelledSpeech,
        filmed_clips,
        recordings,
    )

    rng = np.random.default_rng(arguments.seed)
    utterances = [one for folder in arguments.voices for one in recordings(folder, rng)]
    if arguments.film is not None:
        phones = {} if arguments.phones is None else _read_phones(arguments.phones)
        utterances += filmed_clips(PreparedFolder(arguments.film), phones)
    if not utterances:
        raise InputError("nothing to label: give --voices FOLDER or --film FOLDER")
    LabelledSpeech(tuple(utterances)).save(arguments.out)
    minutes = sum(one.mel.shape[1] for one in utterances) / 80 / 60
    print(f"{arguments.out}: {len(utterances)} recordings, {minutes:.1f} minutes")
    return 0


def _read_phones(path: Path) -> "dict[str, list[TimedClass]]":
    """Return clip -> phones, whatever the suffix that the file gives the clips."""
    try:
        book = json.loads(path.read_text("utf-8"))
        return {
            Path(name).stem: [(int(k), float(start), float(end)) for k, start, end in phones]
            for name, phones in book.items()
        }
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no phones.json: {error}") from error


def add_lips_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``train lips``."""
    add_run_arguments(
        parser,
        clips="files made by 'label'; one of them of film with phones, which teaches the lips",
    )
    parser.add_argument(
        "--shares", type=float, nargs="+", help="share of every file, in order (default: alike)"
    )
    parser.add_argument("--samples", type=int, default=64_000, help="examples to see in all")
    parser.add_argument("--width", type=int, default=192, help="channels (default 192)")
    parser.add_argument(
        "--pieces", type=int, default=90, help="made-up music to rest at (default 90)"
    )


def run_lips(arguments: argparse.Namespace) -> int:
    """Train the lip network."""
    import torch  # noqa: PLC0415

    from lipstream_models.corpora.labelled_speech import LabelledSpeech  # noqa: PLC0415
    from lipstream_models.corpora.music import piece_mels  # noqa: PLC0415
    from lipstream_models.training.lip_augmentation import LipVariation  # noqa: PLC0415
    from lipstream_models.training.lips import (  # noqa: PLC0415
        LEARNT_COLUMNS,
        LIP_OPTIONS,
        LipSource,
        LipTrainer,
    )
    from lipstream_models.training.model_card import DataFolder  # noqa: PLC0415

    options = replace(options_of(arguments, LIP_OPTIONS), samples=arguments.samples)
    files = [LabelledSpeech.load(path) for path in arguments.clips]
    shares = arguments.shares or [1.0] * len(files)
    if len(shares) != len(files) or min(shares) < 0 or sum(shares) <= 0:
        raise InputError(f"--shares: give {len(files)} numbers, one a file, not all 0")
    teacher = _teach(files, arguments.seed)
    source = LipSource([_lessons(file, teacher) for file in files], shares)
    music = torch.from_numpy(piece_mels(max(1, arguments.pieces), arguments.seed))
    variation = LipVariation(LEARNT_COLUMNS, music)
    trainer = LipTrainer(source, variation, teacher.directions, options, arguments.width)
    counts = [len(file.utterances) for file in files]
    held_out = [-(-count // 20) for count in counts]
    rows = zip(arguments.clips, counts, held_out, strict=True)
    folders = [DataFolder(path.name, count - kept, kept) for path, count, kept in rows]
    carry_out(trainer, arguments, folders)
    return 0


def _teach(files: "list[LabelledSpeech]", seed: int) -> "PhoneTeacher":
    from lipstream_models.training.lip_targets import find_directions, train_teacher  # noqa: PLC0415
    from lipstream_models.training.lips import HELD_OUT  # noqa: PLC0415

    filmed = [
        one
        for file in files
        for place, one in enumerate(file.utterances)
        if place % HELD_OUT and one.lips is not None and (one.classes > 0).any()
    ]
    if not filmed:
        raise InputError("no film with phones among --clips: label one with --film and --phones")
    return train_teacher(filmed, find_directions(filmed), seed=seed)


def _lessons(file: "LabelledSpeech", teacher: "PhoneTeacher") -> "list[Lesson]":
    from lipstream_models.training.lip_targets import film_targets  # noqa: PLC0415
    from lipstream_models.training.lips import Lesson  # noqa: PLC0415

    return [
        Lesson(
            one,
            teacher.targets(one) if one.lips is None else film_targets(one, teacher.directions),
        )
        for one in file.utterances
    ]
