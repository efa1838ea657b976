"""Finished pictures of a bench, one a line, so that a long one can be taken up where it was cut off."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from bench.provenance import difference
from bench.results import Sample

Samples = dict[tuple[str, str], Sample]


class JournalError(Exception):
    """A journal that does not fit the bench. The message says what to do."""


class Journal:
    """JSON lines: the conditions first, then each picture with all its samples.

    Args:
        path: of the file.
        conditions: what must be the same for pictures to belong together.
        code: with which code they are made, which must be the same too (provenance.py).
        should_resume: keep what is there; else it is begun afresh.

    Raises:
        JournalError: what is there was made under other conditions, or with other code.
    """

    def __init__(
        self, path: Path, conditions: dict[str, object], code: dict[str, str], should_resume: bool
    ) -> None:
        self.path = path
        self.done: dict[tuple[int, int], Samples] = {}
        head = json.loads(json.dumps({**conditions, "code": code}))
        path.parent.mkdir(parents=True, exist_ok=True)
        if should_resume and path.is_file():
            self.read(head)
        else:
            path.write_text(json.dumps(head) + "\n")

    def read(self, head: dict[str, object]) -> None:
        """Take up what is there. A last line that was cut off is dropped."""
        lines = [line for line in self.path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        found = json.loads(lines[0]) if lines else {}
        before, now = found.pop("code", {}), head.pop("code")
        if found != head:
            raise JournalError(
                f"{self.path} was made under other conditions ({json.dumps(found)}) than now "
                f"({json.dumps(head)}). Run with the same options, choose another --out, or leave --resume "
                "away to begin afresh."
            )
        if other := difference(before, now):
            raise JournalError(
                f"{self.path} cannot be taken up: {other}. Old and new rows would not belong together. Leave "
                "--resume away to begin afresh, choose another --out, or check out the code of the old rows."
            )
        self.path.write_text("".join(lines))
        for line in lines[1:]:
            entry = json.loads(line)
            samples = {(row.pop("method"), row.pop("value")): row for row in entry["samples"]}
            self.done[entry["prompt"], entry["seed"]] = {k: Sample(**row) for k, row in samples.items()}

    def add(self, prompt: int, seed: int, samples: Samples) -> None:
        """Write a finished picture."""
        self.done[prompt, seed] = samples
        rows = [{"method": m, "value": v, **asdict(sample)} for (m, v), sample in samples.items()]
        with self.path.open("a") as file:
            file.write(json.dumps({"prompt": prompt, "seed": seed, "samples": rows}) + "\n")
