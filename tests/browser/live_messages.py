"""What the server would tell of a run, made up, so that a page can be told anything."""

from __future__ import annotations

from typing import Any

from comfy_page import ComfyPage

NODE = "AdaCorrection"
COLUMNS = ["step_index", "evaluation", "branch", "outcome", "reason", "weight", "drift"]
COLUMNS += ["expected_error", "measured_error", "risk", "tolerance", "blocks_run", "seconds"]
OUTCOMES = [0, 0, 1, 1, 2, 0]
OUTLOOK = {
    "text": "Steps 2 to 27 of 28 can be corrected.",
    "key": "steps",
    "values": {"first": "3", "last": "27", "steps": "28", "most": "24", "saved": "86%"},
}
BLOCKS_RUN = [57, 57, 0, 1, 0, 57]  # the probe is asked at one of the corrected steps


def message(comfy: ComfyPage, steps: int, **changes: Any) -> dict[str, Any]:
    """What the server would send for the node after some steps."""
    records = [
        [i, i, branch, OUTCOMES[i % 6], None, 0.5, 0.01 * i, 0.04 * i, None, 0.001 * (i % 6), 0.01]
        + [BLOCKS_RUN[i % 6], 0.1]
        for i in range(steps)
        for branch in ("uncond", "cond")
    ]
    return {
        "node": str(comfy.call(NODE, "node => node.id")),
        "workflow": comfy.page.evaluate("() => window.app.rootGraph.id"),
        "run": 1,
        "message": steps,
        "found": {"text": "Toy: 19 double + 38 single blocks, probe 1", "key": "", "values": {}},
        "setting": "balanced",
        "outlook": [OUTLOOK],
        "groups": [["double", 19], ["single", 38]],
        "probe_blocks": 1,
        "num_steps": 28,
        "is_over": False,
        "is_finished": False,
        "cache_bytes": 3 * 2**29,
        "seconds": 1.0,
        "seconds_saved": 0.5,
        "hit_rate": 0.4,
        "blocks_saved": 0.3,
        "columns": COLUMNS,
        "records": records,
        **changes,
    }


def send(comfy: ComfyPage, *messages: Any) -> None:
    """Hand messages to the page as if they came from the server, and wait until they are drawn."""
    dispatch = """messages => {
        const {api} = window.comfyAPI.api;
        for (const detail of messages) api.dispatchEvent(new CustomEvent("adacorrection.run", {detail}));
        return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
    }"""
    comfy.page.evaluate(dispatch, list(messages))
