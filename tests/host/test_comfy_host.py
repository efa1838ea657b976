"""The pack and ComfyUI side by side in one process, without their `nodes` getting mixed up."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from runs import only_on_the_cpu

import comfy_host


def test_nodes_is_the_hosts_module() -> None:
    assert Path(importlib.util.find_spec("nodes").origin).name == "nodes.py"


def test_pack_is_loaded_under_its_alias(pack: ModuleType) -> None:
    assert sys.modules[comfy_host.PACK_NAME] is pack
    assert Path(pack.__file__).parent.samefile(comfy_host.PACK_ROOT)
    assert callable(pack.comfy_entrypoint)
    assert pack.WEB_DIRECTORY == "./web"


def test_core_is_importable_through_the_pack_only() -> None:
    assert importlib.util.find_spec("adacorrection_core") is None
    assert importlib.util.find_spec("adacorrection.adacorrection_core") is not None


@only_on_the_cpu("that is what it says")
def test_host_runs_on_the_cpu() -> None:
    import comfy.model_management

    assert comfy.model_management.get_torch_device().type == "cpu"
