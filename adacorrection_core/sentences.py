"""What is said to the artist: English text that also tells which sentence it is.

A page can say it in the artist's language: locales/*/main.json has the same keys ("adacorrectionSays").
"""

from __future__ import annotations

SENTENCES = {
    "off": "Tolerance 0: every step is computed, exactly as without this node.",
    "paper": "Paper mode computes every block and saves no time. Mode accelerated does.",
    "noStep": "None of the {steps} steps can be corrected.",
    "oneStep": "Step {first} of {steps} can be corrected: up to {saved} of the blocks saved.",
    "steps": (
        "Steps {first} to {last} of {steps} can be corrected, at most {most}: "
        "up to {saved} of the blocks saved."
    ),
    "range": "Steps {first} to {last} of {steps} can be corrected.",
    "target": "About {computed} are computed for {speedup}x.",
    "targetTooHigh": (
        "Asked for {speedup}x, but warm-up, last step, the range and the longest stretch leave at most "
        "{reachable}x of {steps} steps."
    ),
    "fewSteps": (
        "With {steps} steps, {reached}x strays further than {speedup}x with {usual}. "
        "Better: {kept}x (preset Target speed-up), or more steps."
    ),
    "fewStepsAll": (
        "With {steps} steps, {reached}x strays further than {speedup}x with {usual}, as any speed-up would. "
        "Better: more steps, or bypass this node."
    ),
    "lowTolerance": (
        "At tolerance {tolerance} little of that is expected. Better: raise tolerance, or take more steps."
    ),
    "betterWarmup": "Better: lower warmup_steps from {before} to {after} (preset Custom).",
    "betterRange": "Better: lower start_percent or raise end_percent.",
    "betterSteps": "Better: sample with {steps} steps or more.",
    "noMemory": (
        "Memory for the cache ran out, and the run went on without it. Set cache_placement to offload, "
        "or make the picture or video smaller."
    ),
    "twoCaches": (
        "{others} is at work on this model too. Two caches would skip the same steps and add up their "
        "errors, so AdaCorrection left every step to {others}. Remove one of the nodes."
    ),
    "unfitSampler": (
        "{sampler} amplifies the errors of a cache: as many fewer steps stay nearer than this node does. "
        "Better: bypass it, or take {better}."
    ),
    "probe": "{family}, probe {blocks}",
}


class Sentence(str):
    """A sentence in English.

    Attributes:
        key: which of SENTENCES; empty where it is none of them.
        values: what is filled in, by name, as text.
    """

    key: str
    values: dict[str, str]

    def __new__(cls, text: str, key: str = "", values: dict[str, str] | None = None) -> Sentence:
        sentence = super().__new__(cls, text)
        sentence.key, sentence.values = key, values or {}
        return sentence


def say(key: str, **values: object) -> Sentence:
    """One of SENTENCES, filled in."""
    texts = {name: str(value) for name, value in values.items()}
    return Sentence(SENTENCES[key].format(**texts), key, texts)


def to_page(text: str) -> dict[str, object]:
    """A sentence as a page takes it: the English text, and what it needs to say it in another language."""
    return {"text": str(text), "key": getattr(text, "key", ""), "values": getattr(text, "values", {})}
