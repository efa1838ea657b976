"""Start a real ComfyUI in this process and load the pack into it, before any test module is imported.

After this, host tests import what they need by plain statements:

    import comfy.samplers
    import tiny_models
    from adacorrection.nodes.host.session import apply_correction
"""

from collections.abc import Iterator
from types import ModuleType

import pytest
import torch
from comfy_server import Server, running_server

import comfy_host

try:
    comfy_host.boot()
    import tiny_models
except (FileNotFoundError, ModuleNotFoundError) as error:
    raise SystemExit(f"The host tests cannot run here: {error}\n{comfy_host.HOW_TO_GET_A_HOST}") from error

comfy_host.load_pack()

torch.set_num_threads(1)  # tiny tensors gain nothing from more, and a busy machine loses


collect_ignore = [] if comfy_host.ON_SECOND_DEVICE else ["test_on_device.py"]


@pytest.fixture(scope="session")
def pack() -> ModuleType:
    """The loaded pack, as `import adacorrection` gives it."""
    return comfy_host.load_pack()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server with the pack in it. Tests share it: what they count, they count from where it stood."""
    with running_server(comfy_host.find_host(), tmp_path_factory.mktemp("comfyui")) as running:
        yield running


@pytest.fixture(params=tiny_models.FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    """Each tiny model by name; a test that takes this runs once for each that the host knows."""
    if not tiny_models.available(request.param):
        pytest.skip(f"ComfyUI {tiny_models.comfyui_version} has no {request.param}")
    return request.param
