"""What an audit comes to: clean, a hole, a machine without a network, a tool that fails."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from audit_dependencies import LOCK, judge

ROOT = Path(__file__).parents[2]


def report(*holes):
    found = [{"id": name, "fix_versions": fixed} for name, fixed in holes]
    return json.dumps({"dependencies": [{"name": "av", "version": "17.0", "vulns": found}]})


def test_a_package_without_holes_passes():
    assert judge(report(), "") == ("no known hole in 1 packages", 0)


def test_a_hole_fails_and_names_the_version_without_it():
    said, code = judge(report(("GHSA-1", ["17.1"]), ("GHSA-2", [])), "")
    assert code == 1
    assert "av 17.0: GHSA-1, mended in 17.1" in said
    assert "GHSA-2, mended in no version yet" in said


@pytest.mark.parametrize(
    "error", ["requests.exceptions.ConnectionError: ...", "Max retries exceeded"]
)
def test_a_machine_without_a_network_is_no_failure_and_is_said(error):
    said, code = judge("", error)
    assert (said.split(":")[0], code) == ("not audited", 0)


def test_a_tool_that_fails_otherwise_is_a_failure():
    assert judge("", "error: no such option") == ("pip-audit failed:\nerror: no such option", 1)


@pytest.mark.slow
def test_without_a_network_the_command_passes_and_says_so():
    pytest.importorskip("pip_audit", reason="the extra dev is not installed")
    command = ["unshare", "--net", sys.executable, ROOT / "tools" / "audit_dependencies.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unshare" in done.stderr:
        pytest.skip("no network namespace can be made here")
    assert (done.returncode, done.stdout.split(":")[:2]) == (0, ["audit", " not audited"])


def locked():
    return dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", LOCK.read_text(), re.M))


def names_of(extra, project):
    """Return the packages that an extra asks for, those of the extras that it names included."""
    wanted = set()
    for line in project["optional-dependencies"][extra]:
        name = re.match(r"[A-Za-z0-9._-]+", line)[0].lower()
        if name == "lipstream":
            for other in re.search(r"\[(.*?)\]", line)[1].split(","):
                wanted |= names_of(other, project)
        else:
            wanted.add(name)
    return wanted


def test_all_that_development_needs_is_locked_with_its_hashes():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = names_of("dev", project)
    needed |= {re.match(r"[A-Za-z0-9._-]+", line)[0].lower() for line in project["dependencies"]}
    missing = needed - {"torch"} - locked().keys()  # torch: the Makefile says which
    assert not missing, f"run 'make lock': {', '.join(sorted(missing))} not in {LOCK.name}"
    entries = re.split(r"\n(?=[a-z0-9])", LOCK.read_text().partition("make lock\n")[2])
    assert all("--hash=sha256:" in entry for entry in entries)
