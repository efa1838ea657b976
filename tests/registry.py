"""Make pyproject.toml ready for ComfyUI's registry: its rules, and the address that only the publisher knows.

make registry [REPOSITORY=https://github.com/OWNER/NAME]
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10, for which pytest brings this one
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PUBLIC = r"https://[\w-]+(\.[\w-]+)+(/[\w.~-]+){2,}"
SYSTEM = r"Operating System :: (OS Independent|Microsoft :: Windows|POSIX :: Linux|MacOS)( :: .+)?"
DEVICE = r"Environment :: (GPU :: (NVIDIA CUDA|AMD ROCm|Intel Arc|Apple Metal)|NPU :: Huawei Ascend)"
FIELD = r"PublisherId|DisplayName|Icon|Banner|requires-comfyui|includes"
HOST = r"([<>]|[<>~!]=|<>)?\d+\.\d+\.\d+"
PICTURE = r"https://\S+\.(svg|png|jpe?g|gif)"
# https://docs.comfy.org/registry/specifications: place, whether it has to be there, its form, that in words.
RULES = [
    ("project.name", True, r"[A-Za-z][^\W_]*([-_.][^\W_]+)*", "letters, digits, single - _ . between them"),
    ("project.name", True, r"(?i)(?!.*comfy).{1,99}", "under 100 characters, not called after ComfyUI"),
    ("project.version", True, r"\d+\.\d+\.\d+", "three numbers, X.Y.Z"),
    ("project.license", False, r"file|text", "a table, { file = ... } or { text = ... }"),
    ("project.description", True, r".{20,200}", "one line"),
    ("project.requires-python", True, r"([<>=!~]+[\d.*]+,?)+", "a range, like >=3.10"),
    ("project.classifiers", True, rf"{SYSTEM}|{DEVICE}|(?!Op|En).*", "systems and devices that it knows"),
    ("project.urls.Repository", True, PUBLIC, "a public https address"),
    ("tool.comfy", True, FIELD, "no other fields"),
    ("tool.comfy.PublisherId", True, r"[a-z\d]+(-[a-z\d]+)*", "small letters, digits, single - between them"),
    ("tool.comfy.DisplayName", False, r".*\S.*", "not empty"),
    ("tool.comfy.Icon", False, PICTURE, "https address of a svg, png, jpg or gif"),
    ("tool.comfy.Banner", False, PICTURE, "https address of a svg, png, jpg or gif"),
    ("tool.comfy.requires-comfyui", False, rf"{HOST}(,\s*{HOST})*", "like >=1.0.0,<2.0.0"),
]
MISSING = """pyproject.toml has no Repository under [project.urls]. The registry requires one, and no remote
of this checkout tells it. Say where the project is published:
    make registry REPOSITORY=https://github.com/OWNER/NAME"""


def texts_at(metadata: dict[str, Any], place: str) -> list[str]:
    """What stands at a place: a text, a list of them, or the keys of a table."""
    value: Any = metadata
    for key in place.split("."):
        value = value.get(key, {}) if isinstance(value, dict) else {}
    return [value] if isinstance(value, str) else list(value)


def faults(metadata: dict[str, Any], root: Path = ROOT) -> list[str]:
    """The rules that a pyproject.toml breaks, in words."""
    broken = []
    for place, is_required, form, words in RULES:
        texts = texts_at(metadata, place)
        if (is_required and not texts) or not all(re.fullmatch(form, text) for text in texts):
            broken.append(f"{place}: {words}")
    paths = [*texts_at(metadata, "project.license.file"), *texts_at(metadata, "tool.comfy.includes")]
    return broken + [f"{path} is not there" for path in paths if not (root / path).exists()]


def public_address(text: str) -> str:
    """A git address as that of a page, without a login: git@github.com:me/it.git is https://github.com/me/it."""
    found = re.fullmatch(r"(?:\w+://)?(?:[^@/]+@)?([\w.-]+)[:/]+(.+?)(?:\.git)?/?", text.strip())
    address = f"https://{found[1]}/{found[2]}" if found else ""
    return address if re.fullmatch(PUBLIC, address) else ""


def remote_address(root: Path = ROOT) -> str:
    """Where the checkout comes from; empty where that is not public."""
    asked = ["git", "remote", "get-url", "origin"]
    return public_address(subprocess.run(asked, cwd=root, capture_output=True, text=True).stdout)


def main(given: str = "", root: Path = ROOT) -> str:
    """Write the address where it is not there yet, and say what is wrong; nothing where all is well."""
    text = (root / "pyproject.toml").read_text()
    known = "".join(texts_at(tomllib.loads(text), "project.urls.Repository"))
    address = public_address(given) if given else known or remote_address(root)
    if not address:
        return f"{given} is no public address like https://github.com/OWNER/NAME." if given else MISSING
    if address != known:
        line = f'Repository = "{address}"\n'
        text = re.sub(r"(\[project\.urls\].*\n)(Repository.*\n)?", rf"\1{line}", text)
        (root / "pyproject.toml").write_text(text)
    return "\n".join(faults(tomllib.loads(text), root))


if __name__ == "__main__":
    problem = main(*sys.argv[1:])
    print(problem or "pyproject.toml is ready for the registry. Next: comfy node publish")
    sys.exit(1 if problem else 0)
