"""DBCache of the package cache-dit (https://github.com/vipshop/cache-dit), on the demo's transformer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

os.environ.setdefault("CACHE_DIT_LOG_LEVEL", "ERROR")  # read at import; by default ten lines a context
import cache_dit  # noqa: E402
from cache_dit import (  # noqa: E402
    BlockAdapter,
    CalibratorConfig,
    DBCacheConfig,
    DMDCalibratorConfig,
    FoCaCalibratorConfig,
    ForwardPattern,
    TaylorSeerCalibratorConfig,
)
from diffusers import SD3Transformer2DModel  # noqa: E402
from torch import nn  # noqa: E402

from bench.peer import Context, Peer, hand_text_on, restored  # noqa: E402


@contextmanager
def enabled(
    transformer: nn.Module, num_steps: int, calibrator: CalibratorConfig | None, **settings: Any
) -> Iterator[None]:
    """DBCache with its first block always computed; cond and uncond in one batch."""
    config = DBCacheConfig(
        Fn_compute_blocks=1, enable_separate_cfg=False, num_inference_steps=num_steps, **settings
    )
    with restored(transformer):
        hand_text_on(transformer)
        target = transformer
        if isinstance(transformer, SD3Transformer2DModel):  # its own entry for SD3 wants the pipeline
            blocks, pattern = transformer.transformer_blocks, ForwardPattern.Pattern_1
            target = BlockAdapter(transformer=transformer, blocks=blocks, forward_pattern=pattern)
        cache_dit.enable_cache(target, cache_config=config, calibrator_config=calibrator)
        try:
            yield
        finally:
            cache_dit.disable_cache(target)


def db_cache(calibrator: CalibratorConfig | None = None) -> Context:
    """DBCache whose knob is the threshold of its first block's movement."""

    def context(transformer: nn.Module, num_steps: int, threshold: float) -> Any:
        return enabled(
            transformer, num_steps, calibrator, residual_diff_threshold=threshold, max_warmup_steps=3
        )

    return context


def steps_mask(transformer: nn.Module, num_steps: int, policy: str) -> Any:
    """DBCache that computes the steps of one of its laid-out masks, forecasting the others."""
    mask = cache_dit.steps_mask(total_steps=num_steps, mask_policy=policy)
    return enabled(
        transformer,
        num_steps,
        TaylorSeerCalibratorConfig(),
        steps_computation_mask=mask,
        steps_computation_policy="static",
    )


THRESHOLDS = (0.04, 0.08, 0.13, 0.22, 0.4, 0.7)
SETTINGS = (
    "F1B0: one block at every step (default 8, which would be most of this model); 3 warm-up steps, as "
    "AdaCorrection has (default 8); no bound on consecutive steps (default)."
)

CACHE_DIT_PEERS = [
    Peer("DBCache (cache-dit)", "threshold", THRESHOLDS, db_cache(), SETTINGS),
    Peer(
        "DBCache + TaylorSeer (cache-dit)",
        "threshold",
        THRESHOLDS,
        db_cache(TaylorSeerCalibratorConfig()),
        f"{SETTINGS} First order (default).",
    ),
    Peer(
        "DBCache + DMD (cache-dit)",
        "threshold",
        THRESHOLDS,
        db_cache(DMDCalibratorConfig()),
        f"{SETTINGS} Dynamic mode decomposition of the last 6 computed steps (default).",
    ),
    Peer(
        "DBCache + FoCa (cache-dit)",
        "threshold",
        THRESHOLDS,
        db_cache(FoCaCalibratorConfig()),
        f"{SETTINGS} No settings of its own.",
    ),
    Peer(
        "Steps mask + TaylorSeer (cache-dit)",
        "policy",
        ("slow", "medium", "fast", "ultra"),
        steps_mask,
        "The four masks that the package brings, static policy: the mask alone decides. F1B0.",
    ),
]
