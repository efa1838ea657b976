"""What the browser hears while a real server samples."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from comfy_server import Run, Server
from test_server import NODE, REPORT, STEPS, knows_small_flux, make_prompt, number

from adacorrection.nodes.host.events import COLUMNS, INTERVAL, ROUTE

WORKFLOW_ID = "00000000-0000-4000-8000-000000000001"


@pytest.fixture(scope="module")
def run(server: Server) -> Run:
    """A run of the demo workflow, long enough for many messages."""
    prompt = make_prompt(server, seed=41, steps=5 * STEPS)
    return server.run(prompt, workflow=WORKFLOW_ID)


def own_texts(run: Run) -> list[str]:
    """What was written on the AdaCorrection node; a text begins with the length and the id of its node."""
    start = "\0\0\0\1" + NODE
    return [text.removeprefix(start) for text in run.texts if text.startswith(start)]


@knows_small_flux
def test_text_tells_what_was_found_then_the_steps_then_the_whole(run: Run) -> None:
    found, first, *steps, last = own_texts(run)

    assert found == "Flux: 4 double + 8 single blocks."
    assert first.startswith("Flux: 4 double + 8 single blocks, cache about 0.25 MB.\n")
    assert f"Steps 2 to {5 * STEPS - 1} of {5 * STEPS} can be corrected" in first
    step = r"^Step \d+ of 80: (computed|corrected|held)\. \d+% of the blocks and about -?\d+\.\d s saved"
    assert any(re.search(step, text) for text in steps)
    assert re.search(r"^80 steps\. [1-9]\d?% of the blocks and about \d+\.\d s saved", last)


@knows_small_flux
def test_states_follow_the_run_at_a_bounded_rate(run: Run) -> None:
    counts = [len(state["records"]) for state in run.states]

    assert counts == sorted(counts)
    assert len(set(counts)) > 3
    assert [state["message"] for state in run.states] == list(range(1, len(counts) + 1))
    assert {state["node"] for state in run.states} == {NODE}
    assert {state["workflow"] for state in run.states} == {WORKFLOW_ID}
    # The last state is sent at once; all others wait their turn, up to what the clock's two ends round off.
    gaps = [later["seconds"] - earlier["seconds"] for earlier, later in pairwise(run.states[:-1])]
    assert min(gaps) > INTERVAL - 0.02


@knows_small_flux
def test_last_state_is_the_report(server: Server, run: Run) -> None:
    last = run.states[-1]
    outcome = COLUMNS.index("outcome")

    assert last["is_over"] and last["is_finished"]
    assert last["groups"] == [["double", 4], ["single", 8]]
    assert last["columns"] == list(COLUMNS)
    assert len(last["records"]) == 2 * 5 * STEPS  # cond and uncond
    assert last["hit_rate"] == pytest.approx(number(run, "hit_rate"), abs=1e-6)
    assert sum(record[outcome] > 0 for record in last["records"]) == round(
        last["hit_rate"] * len(last["records"])
    )
    assert f"{last['seconds']:.2f} s" in run.outputs[REPORT]["text"][0]


def test_pages_can_ask_before_any_run(server: Server) -> None:
    assert isinstance(server.get(ROUTE).json(), list)


@knows_small_flux
def test_a_page_that_comes_late_can_ask(server: Server, run: Run) -> None:
    """Also under /api, as pages ask."""
    for route in (ROUTE, f"/api{ROUTE}"):
        (state,) = [state for state in server.get(route).json() if state["node"] == NODE]
        assert state["run"] >= run.states[-1]["run"]
        assert state["is_over"]
