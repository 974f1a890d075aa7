"""``lipstream completion bash | zsh | fish``: a script that completes the command line in a shell.

It is written from the parsers of all commands, once, so that pressing Tab starts no Python.
"""

import argparse
import importlib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

from lipstream.cli import COMMANDS

SHELLS = ("bash", "zsh", "fish")
_BASH = """\
# bash: source <(lipstream completion bash)
_lipstream() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}}
    local at= word= given= unless=-*
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
{descend}
    done
{choose}
    [[ $current != -* ]] || unless=
    COMPREPLY=($(compgen -W "$given" -X "$unless" -- "$current"))
}}
complete -o default -F _lipstream lipstream
"""
_ZSH = """\
#compdef lipstream
# zsh: source <(lipstream completion zsh), after compinit
_lipstream() {{
    local current=$words[CURRENT] previous=$words[CURRENT-1] at= word= given= found=
    for word in ${{words[2,CURRENT-1]}}; do
{descend}
    done
{choose}
    found=(${{=given}})
    [[ $current == -* ]] || found=(${{found:#-*}})
    if (( $#found )); then compadd -- $found; else _files; fi
}}
(( $+functions[compdef] )) && compdef _lipstream lipstream
"""


@dataclass(slots=True)
class Words:
    """What may follow one command or one of its own commands."""

    options: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Option -> the values it takes; none where any value goes, or it takes none."""
    flags: set[str] = field(default_factory=set)
    """Options without a value."""
    places: tuple[str, ...] = ()
    """What may stand without an option."""
    below: dict[str, "Words"] = field(default_factory=dict)
    """Command of its own -> what may follow that."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the argument."""
    parser.add_argument("shell", choices=SHELLS, help="the shell that reads the script")


def run(arguments: argparse.Namespace) -> int:
    """Print the script."""
    print({"bash": _bash, "zsh": _zsh, "fish": _fish}[arguments.shell](command_words()), end="")
    return 0


def command_words() -> Words:
    """Return all that the command line takes; a command that is not installed takes nothing."""
    below: dict[str, Words] = {}
    for name, command in COMMANDS.items():
        parser = argparse.ArgumentParser(name)
        parser.add_argument("-v", "--verbose", action="store_true")
        try:
            importlib.import_module(command.module).add_arguments(parser)
        except ModuleNotFoundError:
            below[name] = Words()
            continue
        below[name] = _words_of(parser)
    return Words({"--help": (), "--version": ()}, {"--help", "--version"}, tuple(below), below)


def _words_of(parser: argparse.ArgumentParser) -> Words:
    words = Words()
    for action in parser._actions:
        names = [name for name in action.option_strings if name.startswith("--")]
        choices = tuple(str(one) for one in action.choices or ())
        if isinstance(action, argparse._SubParsersAction):
            words.places += choices
            words.below |= {name: _words_of(one) for name, one in action.choices.items()}
        elif not action.option_strings:
            words.places += choices
        for name in names:
            words.options[name] = choices
            if action.nargs == 0:
                words.flags.add(name)
    return words


def _levels(words: Words, at: str = "") -> Iterator[tuple[str, Words]]:
    """Yield every level with the words that lead there."""
    yield at, words
    for name, one in words.below.items():
        yield from _levels(one, f"{at} {name}".strip())


def _bash(words: Words) -> str:
    return _BASH.format(descend=_descend(words), choose=_choose(words, "    "))


def _zsh(words: Words) -> str:
    return _ZSH.format(descend=_descend(words), choose=_choose(words, "    "))


def _descend(words: Words) -> str:
    """Return the shell's lines that follow a word down to its command's level, for bash and zsh."""
    steps = [f'"{at} {name}"' for at, one in _levels(words) for name in one.below]
    return (
        '        case "$at $word" in\n'
        f'            {"|".join(steps)}) at="${{at:+$at }}$word" ;;\n'
        "        esac"
    )


def _choose(words: Words, indent: str) -> str:
    """Return the shell's lines that set ``given``: by the option before, or else by the level."""
    asking: dict[tuple[str, ...], list[str]] = {}
    for at, one in _levels(words):
        for option, values in one.options.items():
            if option not in one.flags:
                asking.setdefault(values, []).append(f'"{at} {option}"')
    lines = ['case "$at $previous" in']
    lines += [
        f"    {'|'.join(at)}) given={shlex.quote(' '.join(v))} ;;" for v, at in asking.items()
    ]
    lines += ['    *) case "$at" in']
    lines += [
        f'        "{at}") given={shlex.quote(" ".join([*one.places, *one.options]))} ;;'
        for at, one in _levels(words)
    ]
    lines += ["    esac ;;", "esac"]
    return "\n".join(indent + line for line in lines)


def _fish(words: Words) -> str:
    lines = ["# fish: lipstream completion fish | source"]
    for at, one in _levels(words):
        seen = [f"__fish_seen_subcommand_from {name}" for name in at.split()]
        unseen = [f"not __fish_seen_subcommand_from {' '.join(one.below)}"] if one.below else []
        begin = f"complete -c lipstream -n {shlex.quote('; and '.join([*seen, *unseen]) or 'true')}"
        if one.places:
            lines.append(f"{begin} -f -a {shlex.quote(' '.join(one.places))}")
        for option, values in one.options.items():
            takes = "" if option in one.flags else " -r"
            given = f" -f -a {shlex.quote(' '.join(values))}" if values else ""
            lines.append(f"{begin} -l {option.removeprefix('--')}{takes}{given}")
    return "\n".join(lines) + "\n"
