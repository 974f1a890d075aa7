"""Plans that say what is not so, in files whose checksum holds."""

import json

import pytest

from lipstream.errors import ModelError
from lipstream.inference.kernels.plan import load_plan
from lipstream.storage import PackKind, read_pack, write_pack

KIND = PackKind(b"LIPPLAN\0", 2, "a plan of lipstream's kernels")


def refusal(path):
    with pytest.raises(ModelError) as caught:
        load_plan(path)
    said = str(caught.value)
    assert said.startswith("small.plan ")
    assert said.endswith(": export the model again")
    return said


def rewritten(path, change):
    """Change what a plan says, its arrays too, and write it with a checksum that holds."""
    pack = read_pack(path, KIND)
    header = json.loads(pack.text)
    sections = {name: pack.section(header, name).copy() for name in header["sections"]}
    changed = change(header, sections)
    write_pack(path, KIND, header if changed is None else changed, sections)


def step_of(header, kind, number=0):
    found = [one for one in header["steps"] if one["kind"] == kind]
    return found[number]


def says(kind, number=0, /, **fields):
    """Return what makes the n-th step of a kind say something else; ``at_`` of its target."""

    def change(header, _):
        step = step_of(header, kind, number)
        for name, value in fields.items():
            place = step["target"] if name.startswith("at_") else step
            place[name.removeprefix("at_")] = value

    return change


def tensor_says(**fields):
    return lambda header, _: header["tensors"][1].update(fields)


def held(kind, name, becomes):
    """Return what makes an array of the first step of a kind another."""

    def change(header, sections):
        number = header["steps"].index(step_of(header, kind))
        sections[f"{number} {name}"] = becomes(sections[f"{number} {name}"])

    return change
