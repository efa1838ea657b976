"""The bench commands that run in a ComfyUI start there."""

import subprocess
import sys
from pathlib import Path

import pytest

from comfy_host import PACK_ROOT, find_host, host_version


@pytest.mark.parametrize("name", ["host_overhead", "host_peers", "host_precision"])
def test_a_command_starts(name):
    """The imports are the host's; these commands are for 0.33 and later."""
    host = find_host()
    assert host
    if name != "host_overhead" and host_version(host) == "0.8.0":
        pytest.skip("ComfyUI 0.8.0 has no EasyCache for DiTs, and cannot load so narrow a Flux")
    command = [sys.executable, str(Path(PACK_ROOT) / "bench" / f"{name}.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout
