"""Ask a public advisory service about every package of the lists: ``make audit``.

Status 0: no known vulnerability. 1: some, which are listed. 2: the service could not be asked.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    """Run pip-audit over the lists and say what it found in few words."""
    lists = [f"--requirement={path}" for path in sorted(HERE.glob("*.txt"))]
    done = subprocess.run(  # noqa: S603 (a list of arguments, no shell)
        [
            sys.executable, "-m", "pip_audit", *lists, "--require-hashes", "--disable-pip",
            "--vulnerability-service=osv", "--format=json", "--progress-spinner=off",
            "--timeout=20",
        ],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        why = (done.stderr.strip().splitlines() or ["it said nothing"])[-1][:200]
        print("No advisories were read, so nothing is known about the packages.", file=sys.stderr)
        print(f"  where: pip-audit: {why}", file=sys.stderr)
        print("  to do: run make audit on a machine that reaches the OSV service", file=sys.stderr)
        return 2
    bad = [(package, known) for package in found for known in package.get("vulns", [])]
    for package, known in bad:
        fixed = ", ".join(known["fix_versions"]) or "no version yet"
        print(f"{package['name']} {package['version']}: {known['id']}, fixed in {fixed}")
    print(f"{len(found)} packages, {len(bad)} known vulnerabilities")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
