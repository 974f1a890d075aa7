"""Things changed at random, the same for the same seed."""

import os
import random
from collections.abc import Iterator

COUNT = int(os.environ.get("LIPSTREAM_FUZZ", "300"))
"""Changed things of each kind: `make fuzz` sets more."""
SEED = int(os.environ.get("LIPSTREAM_FUZZ_SEED", "1"))
NUMBERS = ("0", "-1", "65536", "4294967296", "9" * 400, "1e999", "NaN", "é", "")


def mutated_text(text: str, chance: random.Random) -> str:
    """Return a text with lines lost, doubled, swapped, cut, joined, and characters changed."""
    lines = text.splitlines()
    for _ in range(chance.randrange(1, 5)):
        if not lines:
            break
        at, other = chance.randrange(len(lines)), chance.randrange(len(lines))
        line = lines[at]
        change = chance.randrange(9)
        if change == 0:
            del lines[at]
        elif change == 1:
            lines.insert(other, line)
        elif change == 2:
            lines[at], lines[other] = lines[other], lines[at]
        elif change == 3:
            lines[at] = line[: chance.randrange(len(line) + 1)]
        elif change == 4:
            lines[at] = line + lines[other]
        elif change == 5:
            words = line.split(" ")
            words[chance.randrange(len(words))] = chance.choice(NUMBERS)
            lines[at] = " ".join(words)
        elif change == 6:
            name, colon, _ = line.partition(":")
            lines[at] = name + colon + chance.choice(NUMBERS)
        elif change == 7:
            place = chance.randrange(len(line) + 1)
            lines[at] = (
                line[:place] + chr(chance.choice((0, 9, 32, 58, 0x2028, 233))) + line[place:]
            )
        else:
            del lines[at : at + chance.randrange(1, 6)]
    return "\r\n".join(lines) + "\r\n"


def mutated_bytes(held: bytes, chance: random.Random) -> bytes:
    """Return bytes with some changed, cut out, doubled or cut off."""
    changed = bytearray(held)
    for _ in range(chance.randrange(1, 6)):
        if not changed:
            break
        at = chance.randrange(len(changed))
        kind = chance.randrange(5)
        if kind == 0:
            changed[at] = chance.randrange(256)
        elif kind == 1:
            del changed[at : at + chance.randrange(1, 40)]
        elif kind == 2:
            changed[at:at] = changed[at : at + chance.randrange(1, 40)]
        elif kind == 3:
            changed[at : at + 4] = chance.choice((b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff"))
        else:
            del changed[at + 1 :]
    return bytes(changed)


def mutated_value(value: object, chance: random.Random) -> object:
    """Return a JSON value with one thing in it changed."""
    odd: list[object] = [
        *(None, True, -1, 0, 10**400, -(10**400), 1e308, 0.5, "", "x" * 300, [], {}, [[]]),
        *({"x": 1}, "\ud800", "nan", 1 << 63, [None], "../../etc/passwd"),
    ]
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(list(value))
        changed = {k: v for k, v in value.items() if k != key}
        if chance.random() < 0.85:
            changed[key] = mutated_value(value[key], chance)
        elif chance.random() < 0.5:
            changed[chance.choice(["extra", "who", "speech", "at", ""])] = chance.choice(odd)
        return changed
    if isinstance(value, list) and value and chance.random() < 0.85:
        changed_list = list(value)
        at = chance.randrange(len(value))
        changed_list[at] = mutated_value(value[at], chance)
        return changed_list * chance.choice((1, 1, 1, 2, 40))
    return chance.choice(odd)


def seeds(count: int, seed: int) -> Iterator[random.Random]:
    """Yield sources of chance, the same each time."""
    for place in range(count):
        yield random.Random(f"{seed} {place}")
