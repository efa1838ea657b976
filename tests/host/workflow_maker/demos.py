"""Workflows on the demo model of this repository, which is small enough for a CPU."""

from __future__ import annotations

from typing import Any

from .graph import Graph, Node, correction, report

DEMO_MODEL = "tinyflux.safetensors"
DEMO_PLACE = (
    "Copy `demo/model/tinyflux.safetensors` from this node pack into `ComfyUI/models/diffusion_models`, "
    "reload the page, then press Run."
)
DEMO_REMARK = (
    "- The two *AdaCorrection Demo* nodes only stand in for this small model's text encoder and VAE."
)


def demo_parts(
    graph: Graph, prompt: str = "04_noto_green_cat", **preset: Any
) -> tuple[Node, Node, Node, Node]:
    """Loader, corrected model, prompt and empty latent of the demo model."""
    loader = graph.add("UNETLoader", 0, unet_name=DEMO_MODEL)
    patched = correction(graph, 1, loader, **preset)
    words = graph.add("AdaCorrectionDemoPrompt", 1, prompt="04_noto_green_cat")
    return loader, patched, words, graph.add("EmptySD3LatentImage", 1, width=128, height=128)


def demo_sampler(graph: Graph, column: float, source: Node, words: Node, latent: Node, seed: int) -> Node:
    """28 steps of the demo model."""
    return graph.add(
        "KSampler",
        column,
        model=source,
        seed=seed,
        steps=28,
        cfg=3.0,
        sampler_name="euler",
        scheduler="simple",
        positive=words["positive"],
        negative=words["negative"],
        latent_image=latent,
    )


def demo_picture(graph: Graph, column: float, latent: Node) -> Node:
    """The decoded picture, four times as large."""
    decoded = graph.add("AdaCorrectionDemoDecode", column, latent=latent)
    return graph.add("ImageScaleBy", column, image=decoded, upscale_method="lanczos", scale_by=4.0)


def demo(graph: Graph) -> None:
    """Quick start."""
    _, patched, words, latent = demo_parts(graph)
    sampled = demo_sampler(graph, 2, patched, words, latent, 660)
    report(graph, 3, patched, sampled)
    larger = demo_picture(graph, 2, sampled)
    graph.add("SaveImage", 3, images=larger, filename_prefix="adacorrection_demo")
    graph.note(
        0,
        f"## AdaCorrection demo\n\n{DEMO_PLACE}\n\n"
        "- **AdaCorrection** stands between loader and sampler; that is all it takes with your own model "
        "too.\n"
        "- Bypass it (Ctrl+B) to get the picture without it.\n"
        f"- **AdaCorrection Report** shows what was computed and what was saved.\n{DEMO_REMARK}",
    )


def ab_compare(graph: Graph) -> None:
    """One seed, two samplers, and what changed."""
    loader, patched, words, latent = demo_parts(graph, preset="Fast")
    plain = demo_sampler(graph, 2, loader, words, latent, 660)
    sampled = demo_sampler(graph, 2, patched, words, latent, 660)
    reference, compared = demo_picture(graph, 3, plain), demo_picture(graph, 3, sampled)
    measured = graph.add("AdaCorrectionCompare", 4, width_of_node=560, reference=reference, compared=compared)
    graph.add("PreviewImage", 5, width_of_node=420, images=measured["difference"])
    report(graph, 4, patched, sampled)
    graph.note(
        0,
        f"## A/B: with and without\n\n{DEMO_PLACE}\n\nThe upper sampler has the plain model, the lower "
        f"one the "
        "same model through AdaCorrection. Seed, steps and prompt are the same.\n\n"
        "- **AdaCorrection Compare** gives PSNR and SSIM, both pictures side by side, and where they "
        "differ.\n"
        "- Try the other presets, or a *Custom* tolerance, and watch the numbers.\n"
        "- To use it with your own model, put your loader, prompts and VAE Decode in place of the demo "
        "nodes.\n"
        f"{DEMO_REMARK}",
    )


def target_speedup(graph: Graph) -> None:
    """A speed is asked for and the tolerance follows."""
    preset = {"preset": "Target speed-up", "preset.target_speedup": 2.0}
    _, patched, words, latent = demo_parts(graph, **preset)
    sampled = demo_sampler(graph, 2, patched, words, latent, 660)
    report(graph, 3, patched, sampled)
    larger = demo_picture(graph, 2, sampled)
    graph.add("SaveImage", 3, images=larger, filename_prefix="adacorrection_target_speedup")
    graph.note(
        0,
        f"## A speed to order\n\n{DEMO_PLACE}\n\n"
        "- **target_speedup** says how many times fewer transformer blocks shall run. The tolerance is "
        "steered "
        "during the run: watch its line in the report's *Risk* chart.\n"
        "- The measured time gains a little less than that. The picture pays: compare with Ctrl+B.\n"
        "- With few steps the node says which speed-up stays as near.\n"
        f"{DEMO_REMARK}",
    )


def paper_mode(graph: Graph) -> None:
    """The published algorithm beside full sampling and the accelerated mode."""
    custom = {"preset": "Custom", "preset.sensitivity": 0.2, "preset.mode": "paper"}
    loader, patched, words, latent = demo_parts(graph, **custom)
    plain = demo_sampler(graph, 2, loader, words, latent, 660)
    sampled = demo_sampler(graph, 2, patched, words, latent, 660)
    reference, compared = demo_picture(graph, 3, plain), demo_picture(graph, 3, sampled)
    graph.add("AdaCorrectionCompare", 4, width_of_node=560, reference=reference, compared=compared)
    report(graph, 4, patched, sampled)
    graph.note(
        0,
        f"## The published algorithm, for study\n\n{DEMO_PLACE}\n\n"
        "Mode *paper* follows arXiv 2602.13357 layer by layer: offset score S, weight clip(gamma S, 0, 1), "
        "output (1 - w) cached + w fresh. It computes every block, so it saves no time; it shows what the "
        "blend does to the picture.\n\n"
        "- **sensitivity** is the paper's gamma: lower holds on to the cached activation, higher takes "
        "the fresh "
        "one, and the picture comes back to the full one.\n"
        "- **spatial_weight** is the paper's lambda.\n"
        "- For speed choose *accelerated*, or one of the presets.\n"
        f"{DEMO_REMARK}",
    )
