"""Look up known holes in what the development install locks, where the service can be reached.

Runs pip-audit over ``requirements-dev.lock`` with the Open Source Vulnerabilities database. A hole
ends it with 1. A machine without a network cannot ask: it says so and ends with 0.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parents[1] / "requirements-dev.lock"
_SECONDS = 300
_UNREACHABLE = re.compile(r"ConnectionError|ConnectTimeout|ReadTimeout|Max retries|ServiceError")


def main() -> int:
    """Audit, print what was found, and return the exit code."""
    with tempfile.TemporaryDirectory(prefix="lipstream-") as folder:
        report = Path(folder) / "audit.json"
        command = [sys.executable, "-m", "pip_audit", "--vulnerability-service", "osv"]
        command += ["--disable-pip", "--require-hashes", "-r", str(LOCK), "--progress-spinner=off"]
        command += ["--format", "json", "--output", str(report)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return _tell(f"not audited: no answer in {_SECONDS} s", 0)
        report_text = report.read_text("utf-8") if report.exists() else ""
    return _tell(*judge(report_text, done.stderr))


def judge(report: str, errors: str) -> tuple[str, int]:
    """Return what to say and the exit code, from pip-audit's JSON and what it wrote besides."""
    if not report:
        if _UNREACHABLE.search(errors):
            return "not audited: the database of holes cannot be reached from here", 0
        return f"pip-audit failed:\n{errors[-2000:]}", 1
    packages: list[dict[str, Any]] = json.loads(report)["dependencies"]
    holes = [
        f"{one['name']} {one['version']}: {hole['id']}, mended in"
        f" {', '.join(hole['fix_versions']) or 'no version yet'}"
        for one in packages
        for hole in one.get("vulns", ())
    ]
    if holes:
        return "\n".join(["known holes, run 'make lock UPGRADE=1':", *holes]), 1
    return f"no known hole in {len(packages)} packages", 0


def _tell(text: str, code: int) -> int:
    print(f"audit: {text}")
    return code


if __name__ == "__main__":
    sys.exit(main())
