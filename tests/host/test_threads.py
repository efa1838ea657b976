"""The same model object sampled from several threads at once: each gets what it gets alone, nothing is left.

ComfyUI itself cannot load two models at a time, and takes the model from under a run when another run of it
ends (docs/host_issues.md). So the runs here load one after the other, wait for each other behind the first
model call, and again behind the last one.
"""

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import comfy.sample
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from runs import TOLERANT, corrected, model_of
from test_leftovers import assert_clean, only_new_objects  # noqa: F401  (a fixture for every test here)
from torch import Tensor

import tiny_models

STEPS = 8
ROUNDS = 2


@pytest.fixture(autouse=True)
def frequent_switches() -> Iterator[None]:
    """Let threads take turns in the middle of a model call, not only between calls."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


class Meeting:
    """Where the runs wait for each other."""

    def __init__(self, runs: int) -> None:
        self.steps: dict[int, list[int]] = {}
        self.loading = threading.Lock()
        self.barrier = threading.Barrier(runs, timeout=20)

    def callback(self, step: int, *_: object) -> None:
        self.steps.setdefault(threading.get_ident(), []).append(step)
        if step == 0:
            self.loading.release()
        if step in (0, STEPS - 1):
            self.barrier.wait()


def sample(model: ModelPatcher, family: str, seed: int, meeting: Meeting | None = None) -> Tensor:
    """A run whose noise does not come from the generator that all threads share."""
    latent = tiny_models.empty_latent(family)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(seed))
    options = {"callback": meeting.callback if meeting else None, "disable_pbar": True}
    if meeting:
        meeting.loading.acquire()
    with torch.inference_mode():
        return comfy.sample.sample(
            model, noise, STEPS, 1.0, "euler", "simple", *tiny_models.conditionings(family), latent, **options
        )


@pytest.mark.parametrize("family", ["flux_dev", "wan21_t2v"])
def test_several_threads(family: str) -> None:
    """One patched model in two threads, another patched clone in a third, the plain model in a fourth."""
    model = corrected(family, TOLERANT)
    models = [model, model, corrected(family), model_of(family)]
    alone = [sample(model, family, seed) for seed, model in enumerate(models)]

    for _ in range(ROUNDS):
        meeting = Meeting(len(models))
        with ThreadPoolExecutor(len(models)) as pool:
            runs = [pool.submit(sample, model, family, seed, meeting) for seed, model in enumerate(models)]
        latents = [run.result() for run in runs]
        assert list(meeting.steps.values()) == len(models) * [list(range(STEPS))]  # each step once

        assert all(torch.equal(got, want) for got, want in zip(latents, alone, strict=True))
        assert_clean(model, family)
        assert torch.equal(sample(model, family, 0), alone[0])
