"""With which code the rows of a bench are made."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("adacorrection_core", "bench", "demo")  # all that a row depends on, but for what is installed


def code_state(root: Path = ROOT) -> dict[str, str]:
    """The commit, and a digest of the packages' Python files as they are, committed or not."""
    digest = hashlib.sha256()
    for path in sorted(path for package in PACKAGES for path in (root / package).rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
        digest.update(path.read_bytes())
    return {"commit": commit_of(root), "digest": digest.hexdigest()[:16]}


def commit_of(root: Path) -> str:
    """The commit that is checked out; "unknown" where there is no git or no checkout."""
    try:
        command = ["git", "rev-parse", "--short=12", "HEAD"]
        return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.strip()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return "unknown"


def difference(before: dict[str, str], now: dict[str, str]) -> str:
    """How the code differs, in words; empty where it is the same."""
    if before == now:
        return ""
    if not before:
        return f"it does not say with which code its rows were made; now it is commit {now['commit']}"
    if before["commit"] != now["commit"]:
        return f"its rows were made with commit {before['commit']}, and now it is commit {now['commit']}"
    changed = ", ".join(PACKAGES)
    return f"its rows were made with commit {now['commit']} too, but the code ({changed}) has changed since"
