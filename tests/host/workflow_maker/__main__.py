"""Write workflows/*.json anew, from the node definitions of a running host.

cd tests/host && HOST_PYTHON -m workflow_maker [--thumbnails]     COMFYUI_PATH as for the host tests
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from comfy_server import running_server

from comfy_host import PACK_ROOT, find_host, host_version
from workflow_maker import RUNNABLE, WORKFLOWS, make, thumbnails

FOLDER = PACK_ROOT / "workflows"


def versions() -> dict[str, str]:
    """Of the host that workflows are made with, and of the pack: what nodes carry in their properties."""
    project = (PACK_ROOT / "pyproject.toml").read_text()
    match = re.search(r'^version = "(.+)"', project, re.MULTILINE)
    host = find_host()
    assert match and host
    return {"comfy-core": host_version(host), "adacorrection": match[1]}


def to_text(workflow: dict[str, Any]) -> str:
    """JSON with one node or link a line: short, and changes can be read."""
    lines = []
    for key, value in workflow.items():
        if key in ("nodes", "links") and value:
            items = ",\n".join(f"    {json.dumps(item)}" for item in value)
            lines.append(f'  "{key}": [\n{items}\n  ]')
        else:
            lines.append(f'  "{key}": {json.dumps(value)}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> None:
    host = find_host()
    assert host
    with tempfile.TemporaryDirectory() as scratch, running_server(host, Path(scratch) / "host") as server:
        info = server.get("/object_info").json()
        for name in WORKFLOWS:
            workflow = make(name, info, versions())
            (FOLDER / f"{name}.json").write_text(to_text(workflow))
            if "--thumbnails" in sys.argv:
                is_run = name in RUNNABLE
                card = thumbnails.of_run(server, workflow) if is_run else thumbnails.of_map(name, workflow)
                thumbnails.save(card, FOLDER / f"{name}.jpg")


if __name__ == "__main__":
    main()
