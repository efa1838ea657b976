"""What the browser hears of a run: a line of text on the node, and the numbers of the live view.

Every message carries the whole state of its run, so that one that is lost, late or doubled does no harm, and
a page that was loaded in mid-run asks for the last one at ROUTE. Without a server nothing is sent.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from ...adacorrection_core.outlook import Outlook
from ...adacorrection_core.sentences import say, to_page
from ...adacorrection_core.stats import Outcome, RunReport, StepRecord, finite, in_words

if TYPE_CHECKING:
    from aiohttp.web import Request, Response
    from server import PromptServer

EVENT = "adacorrection.run"
ROUTE = "/adacorrection/runs"
INTERVAL = 0.25  # seconds between two pairs of event and text: with the last, ten messages a second at most
COLUMNS = (
    "step_index",
    "evaluation",
    "branch",
    "outcome",
    "reason",
    "weight",
    "drift",
    "expected_error",
    "measured_error",
    "risk",
    "tolerance",
    "blocks_run",
    "seconds",
)
OUTCOMES = list(Outcome)

# The last run of each node, by the node's id. It owns none of them: they go with the patched model.
_runs: WeakValueDictionary[str, LiveRun] = WeakValueDictionary()


def prompt_server() -> PromptServer | None:
    """The host's server; None in scripts and tests, where its module is not loaded."""
    return getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)


def show_text(text: str, node_id: str | None) -> None:
    """Text on a node in the browser, no script needed."""
    server = prompt_server()
    if server is not None and node_id is not None:
        server.send_progress_text(text, node_id)


def add_route() -> None:
    """Let pages ask for the runs that they have missed. Called once, before the server starts."""
    server = prompt_server()
    if server is None:
        return

    @server.routes.get(ROUTE)
    async def runs(request: Request) -> Response:
        from aiohttp import web

        return web.json_response([run.state() for run in _runs.values()])


def running_workflow() -> str | None:
    """Id of the workflow that the server is working on; None for a prompt that came without one."""
    server = prompt_server()
    if server is None:
        return None
    running, _ = server.prompt_queue.get_current_queue_volatile()
    extras = [item[3].get("extra_pnginfo") or {} for item in running]
    return next((extra["workflow"].get("id") for extra in extras if extra.get("workflow")), None)


def describe_model(family: str, probe_blocks: int) -> str:
    """What was found: "Flux: 19 double + 38 single blocks, probe 1"."""
    return say("probe", family=family, blocks=probe_blocks) if probe_blocks else family


class LiveRun:
    """One run as pages see it. The sampler's thread only says that something is new: the server's loop,
    where all else happens, sends it when it is time.

    Args:
        node_id: the node whose model is sampled.
        report: the run's record, which grows.
        groups: name and number of the blocks, in the order in which they run.
        probe_blocks: how many of them run where the decision is in doubt.
        outlook: what the setting can do to this run.
    """

    def __init__(
        self,
        node_id: str,
        report: RunReport,
        groups: Sequence[tuple[str, int]],
        probe_blocks: int,
        outlook: Outlook,
    ) -> None:
        self.node_id = node_id
        self.report = report
        self.groups = groups
        self.probe_blocks = probe_blocks
        self.found = describe_model(report.family, probe_blocks)
        self.outlook = outlook.sentences()
        self.is_poor = outlook.is_poor
        self.workflow = running_workflow()
        self.number = time.time_ns() // 10**6
        self.started_at = time.perf_counter()
        self.num_sent = 0
        self.sent_at = -INTERVAL
        self.is_waiting = False
        self.is_over = False
        _runs[node_id] = self

    def __deepcopy__(self, memo: dict[int, object]) -> LiveRun:
        """Older hosts copy what a model carries; the run that pages follow stays one object."""
        return self

    def hear(self, records: Sequence[StepRecord] = ()) -> None:
        """Something is new: `records`, or the run itself."""
        if not self.is_waiting:
            self.call_soon(self.wait)

    def end(self) -> None:
        """The run is over, in whatever way: say so at once."""
        self.is_over = True
        self.call_soon(self.send)

    def call_soon(self, step: Callable[[], None]) -> None:
        """Leave a step to the server's loop; the sampler does not wait for it."""
        self.is_waiting = True
        server = prompt_server()
        if server is not None:
            server.loop.call_soon_threadsafe(step)

    def wait(self) -> None:
        """Send when the last message is long enough ago."""
        due_in = self.sent_at + INTERVAL - time.perf_counter()
        asyncio.get_running_loop().call_later(max(due_in, 0.0), self.send)

    def send(self) -> None:
        """Tell all pages how the run stands, unless they have been told already."""
        server = prompt_server()
        if server is None or not self.is_waiting:
            return
        self.is_waiting = False
        self.sent_at = time.perf_counter()
        self.num_sent += 1
        server.send_sync(EVENT, self.state())
        server.send_progress_text(self.text(), self.node_id)

    @property
    def seconds(self) -> float:
        """Measured time so far."""
        return self.report.seconds if self.is_over else time.perf_counter() - self.started_at

    @property
    def cache_bytes(self) -> int:
        """What the cache is expected to hold; what it does hold where that was not known."""
        return self.report.bytes_expected or self.report.bytes_held

    @property
    def sentences(self) -> list[str]:
        """What the artist should know of the setting."""
        note = self.report.note
        return [note] if note and note not in self.outlook else [*self.outlook]

    @property
    def warning(self) -> list[str]:
        """What is said even when the run is over: next to nothing can be saved, or something has come up."""
        if self.is_poor:
            return self.sentences
        return [self.report.note] if self.report.note else []

    def text(self) -> str:
        """On the node: what can be expected, then where the run stands, with a warning where there is one."""
        report, records = self.report, list(self.report.records)
        if not records:
            cache = f", cache about {in_words(self.cache_bytes)}" if self.cache_bytes else ""
            return f"{self.found}{cache}.\n{' '.join(self.sentences)}"
        step = f"tep {records[-1].step_index + 1} of {report.num_steps}"
        place = f"S{step}: {records[-1].outcome.value}"
        if self.is_over:
            place = f"{report.num_steps} steps" if report.is_finished else f"Stopped at s{step}"
        saved = f"{1 - report.block_fraction:.0%} of the blocks and about {report.seconds_saved:.1f} s saved"
        return f"{place}. {saved} in {self.seconds:.1f} s.\n{' '.join(self.warning)}".rstrip()

    def state(self) -> dict[str, Any]:
        """The whole run in numbers, small enough to send at each step."""
        report, records = self.report, list(self.report.records)
        state = {
            "node": self.node_id,
            "workflow": self.workflow,
            "run": self.number,
            "message": self.num_sent,
            "found": to_page(self.found),
            "setting": report.config_name,
            "outlook": [to_page(sentence) for sentence in self.sentences],
            "groups": self.groups,
            "probe_blocks": self.probe_blocks,
            "num_steps": report.num_steps,
            "is_over": self.is_over,
            "is_finished": report.is_finished,
            "cache_bytes": self.cache_bytes,
            "seconds": self.seconds,
            "seconds_saved": report.seconds_saved,
            "hit_rate": report.hit_rate,
            "blocks_saved": 1 - report.block_fraction,
            "columns": COLUMNS,
            "records": [[rounded(getattr(record, name)) for name in COLUMNS] for record in records],
        }
        return finite(state)  # type: ignore[return-value]


def rounded(value: Any) -> Any:
    """A number with four digits, an outcome by its place, a reason in words; all else as it is."""
    if isinstance(value, Outcome):
        return OUTCOMES.index(value)
    if isinstance(value, float):
        return float(f"{value:.4g}")
    return getattr(value, "value", value)
