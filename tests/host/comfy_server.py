"""A real ComfyUI server in a process of its own, this pack linked in; the host's own folder is left alone."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import requests

from comfy_host import PACK_ROOT, host_python

START_LIMIT, RUN_LIMIT = 180.0, 120.0  # seconds
LIVE_EVENT = "adacorrection.run"
TEXT_EVENT = 3  # first four bytes of a binary message with text for a node


@dataclass
class Run:
    """What the server told about one queued prompt.

    Attributes:
        ending: its last message: "execution_success", "execution_error" or "execution_interrupted".
        details: that message.
        outputs: what the nodes show, by node id.
        texts: texts sent to nodes in the browser.
        states: what the live view was sent, whole states of the run.
    """

    ending: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    states: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        url: where it listens.
        folder: its base directory: models, custom_nodes, output and so on.
        log_file: what it prints.
    """

    url: str
    folder: Path
    log_file: Path

    def get(self, path: str, **arguments: Any) -> requests.Response:
        response = requests.get(self.url + path, timeout=30, **arguments)
        response.raise_for_status()
        return response

    def post(self, path: str, content: Any = None) -> requests.Response:
        return requests.post(self.url + path, json=content or {}, timeout=30)

    def known_prompts(self) -> list[str]:
        """Ids of all prompts that have been queued, run or not."""
        waiting = [item[1] for items in self.get("/queue").json().values() for item in items]
        return [*waiting, *self.get("/history").json()]

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def run(
        self,
        prompt: dict[str, Any],
        on_step: Callable[[int], None] = lambda step: None,
        workflow: str | None = None,
    ) -> Run:
        """Queue a prompt and wait for its end.

        Args:
            prompt: in API form.
            on_step: hears how many sampler steps are done.
            workflow: id of the workflow that the prompt comes from, as a page would send it.
        """
        return asyncio.run(asyncio.wait_for(self._run(prompt, on_step, workflow), RUN_LIMIT))

    async def _run(self, prompt: dict[str, Any], on_step: Callable[[int], None], workflow: str | None) -> Run:
        client, run = uuid.uuid4().hex, Run()
        async with (
            aiohttp.ClientSession(self.url) as session,
            session.ws_connect(f"/ws?clientId={client}", max_msg_size=0) as socket_,
        ):
            content = {"prompt": prompt, "client_id": client}
            if workflow is not None:
                content["extra_data"] = {"extra_pnginfo": {"workflow": {"id": workflow}}}
            async with session.post("/prompt", json=content) as answer:
                content = await answer.json()
                assert answer.status == 200, content
            while not run.ending:
                take(await socket_.receive(), content["prompt_id"], run, on_step)
        return run


def take(message: aiohttp.WSMessage, prompt_id: str, run: Run, on_step: Callable[[int], None]) -> None:
    """Note a message of the server."""
    if message.type is aiohttp.WSMsgType.BINARY:
        if int.from_bytes(message.data[:4], "big") == TEXT_EVENT:
            run.texts.append(message.data[4:].decode(errors="replace"))
        return
    event = json.loads(message.data)
    kind, content = event["type"], event["data"]
    if kind == LIVE_EVENT:
        run.states.append(content)
    if content.get("prompt_id") != prompt_id:
        return
    if kind == "progress":
        on_step(content["value"])
    elif kind == "executed":
        run.outputs[content["node"]] = content["output"]
    elif kind in ("execution_success", "execution_error", "execution_interrupted"):
        run.ending, run.details = kind, content


@contextmanager
def running_server(host: Path, folder: Path, pack: Path = PACK_ROOT) -> Iterator[Server]:
    """Start the host's server on a free port and end it afterwards.

    Args:
        host: the ComfyUI to start.
        folder: an empty folder for everything that it reads and writes.
        pack: the node pack to link in.
    """
    for name in ("custom_nodes", "models/diffusion_models", "input", "output", "temp", "user"):
        (folder / name).mkdir(parents=True)
    (folder / "custom_nodes" / "adacorrection").symlink_to(pack, target_is_directory=True)
    (folder / "models/diffusion_models/tinyflux.safetensors").symlink_to(
        PACK_ROOT / "demo/model/tinyflux.safetensors"
    )
    port, log_file = free_port(), folder / "server.log"
    command = [host_python(host), "main.py", "--cpu", "--port", str(port), "--base-directory", str(folder)]
    command += ["--database-url", f"sqlite:///{folder / 'comfyui.db'}", "--disable-api-nodes"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with log_file.open("w") as log:
        process = subprocess.Popen(command, cwd=host, env=environment, stdout=log, stderr=log)
    server = Server(f"http://127.0.0.1:{port}", folder, log_file)
    try:
        wait_until_up(server, process)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_up(server: Server, process: subprocess.Popen[bytes]) -> None:
    """Return when the server answers; fail with its log when it ends or takes too long."""
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline and process.poll() is None:
        try:
            server.get("/system_stats")
            return
        except requests.ConnectionError:
            time.sleep(0.5)
    raise RuntimeError(f"ComfyUI did not start:\n{server.log()[-3000:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
