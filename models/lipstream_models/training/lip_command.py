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
    from lipstream_models.training.lips import TrainingUtterance


def add_texts_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``train texts``."""
    parser.add_argument(
        "--kind",
        choices=("sentences", "words", "made-up"),
        required=True,
        help="our own English sentences, random English words, or words of no language",
    )
    parser.add_argument("--count", type=int, default=100, help="lines of words (default 100)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="file to write, a text a line")


def run_texts(arguments: argparse.Namespace) -> int:
    """Write texts to be spoken."""
    import numpy as np  # noqa: PLC0415

    from lipstream_models.corpora.labelled_speech import (  # noqa: PLC0415
        dictionary_sentences,
        dictionary_words,
        made_up_sentences,
    )
    from lipstream_models.corpora.synthetic_sound import SENTENCES  # noqa: PLC0415

    rng = np.random.default_rng(arguments.seed)
    if arguments.kind == "sentences":
        texts = list(SENTENCES)
    elif arguments.kind == "words":
        texts = dictionary_sentences(dictionary_words(), arguments.count, rng)
    else:
        texts = made_up_sentences(arguments.count, rng)
    arguments.out.write_text("\n".join(texts) + "\n", "utf-8")
    print(f"{arguments.out}: {len(texts)} lines")
    return 0


def add_voices_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``train voices``."""
    parser.add_argument("--engine", choices=("espeak", "flite", "piper"), required=True)
    parser.add_argument(
        "--voice",
        required=True,
        help="language of espeak-ng (en-us), voice of flite (slt) or of Piper (en_US-joe-medium)",
    )
    parser.add_argument("--texts", type=Path, required=True, help="file with a sentence a line")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")


def run_voices(arguments: argparse.Namespace) -> int:
    """Speak every line of a file."""
    import numpy as np  # noqa: PLC0415

    from lipstream_models.corpora.labelled_speech import (  # noqa: PLC0415
        make_espeak_voice,
        make_flite_voice,
        make_piper_voice,
    )

    texts = _read_lines(arguments.texts)
    makers = {"espeak": make_espeak_voice, "flite": make_flite_voice, "piper": make_piper_voice}
    makers[arguments.engine](
        arguments.voice, texts, arguments.out, np.random.default_rng(arguments.seed)
    )
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
    from lipstream_models.corpora.grid_corpus import read_sound  # noqa: PLC0415
    from lipstream_models.corpora.labelled_speech import ForcedAligner, grid_sentence  # noqa: PLC0415

    files = sorted(path for path in arguments.sounds.glob("*.*") if path.suffix != ".json")
    if arguments.texts is None:
        texts = {path.name: grid_sentence(path.stem) for path in files}
    else:
        rows = (line.partition("\t") for line in _read_lines(arguments.texts))
        texts = {name: text for name, _, text in rows}
    aligner, book = ForcedAligner(), {}
    for path in files:
        phones = aligner.align(read_sound(path), texts[path.name]) if path.name in texts else None
        if phones is not None:
            book[path.name] = phones
    arguments.out.write_text(json.dumps(book), "utf-8")
    print(f"{arguments.out}: {len(book)} of {len(files)} aligned")
    return 0


def add_gains_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``train gains``."""
    parser.add_argument("model", type=Path, help="model folder of shapes, which is changed")
    parser.add_argument(
        "--clips", type=Path, required=True, help="folder made by 'prepare', of other speakers"
    )


def run_gains(arguments: argparse.Namespace) -> int:
    """Write into a model's decoder how far its measures are to be enlarged."""
    from lipstream_models.corpora.grid_corpus import PreparedFolder  # noqa: PLC0415
    from lipstream_models.corpora.labelled_speech import filmed_clips  # noqa: PLC0415
    from lipstream_models.evaluation.lip_events import LipModel, find_gains  # noqa: PLC0415

    with LipModel(arguments.model) as model:
        exact = find_gains(model, list(filmed_clips(PreparedFolder(arguments.clips), {})))
    gains = [round(float(gain), 3) for gain in exact]
    manifest = arguments.model / "model.toml"
    lines = manifest.read_text("utf-8").splitlines()
    lines = [line for line in lines if not line.startswith("gain =")]
    lines.insert(lines.index("[decoder]") + 1, f"gain = {gains}")
    manifest.write_text("\n".join(lines) + "\n", "utf-8")
    print(f"{manifest}: gap {gains[0]}, outer width {gains[3]}, chin {gains[7]}")
    return 0


def add_motion_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``train motion``."""
    parser.add_argument("--clips", type=Path, required=True, help="folder made by 'prepare'")
    parser.add_argument("--out", type=Path, required=True, help="table to write (.npy)")


def run_motion(arguments: argparse.Namespace) -> int:
    """Write how the measures move the face mesh."""
    import numpy as np  # noqa: PLC0415

    from lipstream_models.corpora.grid_corpus import PreparedFolder  # noqa: PLC0415
    from lipstream_models.training.lip_targets import motion_table  # noqa: PLC0415

    table = motion_table(PreparedFolder(arguments.clips))
    np.save(arguments.out, table.astype(np.float16))
    print(f"{arguments.out}: largest motion {np.abs(table).max():.4f} eye distances a spread")
    return 0


def add_units_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``train units``."""
    parser.add_argument("head", type=Path, help="ICT-FaceKit's head and units as arrays (.npz)")


def run_units(arguments: argparse.Namespace) -> int:
    """Print what each of ARKit's units does to the measures."""
    from lipstream.lips.shape import FITTED  # noqa: PLC0415
    from lipstream_models.training.lip_targets import unit_effects  # noqa: PLC0415

    for name, effect in zip(FITTED, unit_effects(arguments.head), strict=True):
        print(f"{name:16}", *(f"{moved:6.1f}" for moved in effect.tolist()))
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
    from lipstream_models.corpora.labelled_speech import LabelledSpeech, filmed_clips, recordings  # noqa: PLC0415

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
    from lipstream_models.corpora.synthetic_sound import music_mels, noise_mels  # noqa: PLC0415
    from lipstream_models.training.augmentation import LipVariation, babble_mels  # noqa: PLC0415
    from lipstream_models.training.lips import LEARNT_COLUMNS, LIP_OPTIONS, LipSource, LipTrainer  # noqa: PLC0415
    from lipstream_models.training.run_command import DataFolder  # noqa: PLC0415

    options = replace(options_of(arguments, LIP_OPTIONS), samples=arguments.samples)
    files = [LabelledSpeech.load(path) for path in arguments.clips]
    shares = arguments.shares or [1.0] * len(files)
    if len(shares) != len(files) or min(shares) < 0 or sum(shares) <= 0:
        raise InputError(f"--shares: give {len(files)} numbers, one a file, not all 0")
    teacher = _teach(files, arguments.seed)
    source = LipSource([_training_utterances(file, teacher) for file in files], shares)
    pieces = max(1, arguments.pieces)
    music = torch.from_numpy(music_mels(pieces, arguments.seed))
    noise = torch.from_numpy(noise_mels(pieces, arguments.seed))
    voices = [one.mel for file in files for one in file.utterances]
    babble = babble_mels(voices, pieces, arguments.seed)
    variation = LipVariation(LEARNT_COLUMNS, music, noise, babble)
    trainer = LipTrainer(source, variation, teacher.directions, options, arguments.width)
    counts = [len(file.utterances) for file in files]
    held_out = [-(-count // 20) for count in counts]
    rows = zip(arguments.clips, counts, held_out, strict=True)
    folders = [DataFolder(path.name, count - held, held) for path, count, held in rows]
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


def _training_utterances(
    file: "LabelledSpeech", teacher: "PhoneTeacher"
) -> "list[TrainingUtterance]":
    from lipstream_models.training.lip_targets import film_targets  # noqa: PLC0415
    from lipstream_models.training.lips import TrainingUtterance  # noqa: PLC0415

    return [
        TrainingUtterance(
            one,
            teacher.targets(one) if one.lips is None else film_targets(one, teacher.directions),
        )
        for one in file.utterances
    ]
