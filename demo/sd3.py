"""A second network for the bench: Stable Diffusion 3's, small, with the demo's latents and prompts.

diffusers' SD3Transformer2DModel with the RMS norm of queries and keys that SD 3.5 has: joint blocks alone, no
rotary positions but sines and cosines added to the tokens. Its weights are stored in diffusers' names.
"""

from __future__ import annotations

from diffusers import SD3Transformer2DModel
from torch import Tensor, nn

from demo.words import WIDTH

HEAD_DIM, NUM_HEADS, NUM_BLOCKS = 56, 2, 8
TRAINED_TIMES = 1000  # SD3 calls pure noise that


def new_sd3() -> SD3Transformer2DModel:
    """The architecture with fresh weights: 3.6 M parameters, 8 joint blocks that start as the identity."""
    model = SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=NUM_BLOCKS,
        attention_head_dim=HEAD_DIM,
        num_attention_heads=NUM_HEADS,
        caption_projection_dim=NUM_HEADS * HEAD_DIM,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        pos_embed_max_size=8,
        qk_norm="rms_norm",
    )
    for name, module in model.named_modules():
        if name.endswith(".linear"):  # modulations: adaLN-zero (https://arxiv.org/abs/2212.09748)
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    return model


def sd3_of(weights: dict[str, Tensor]) -> SD3Transformer2DModel:
    """The network of stored weights; its positions are sines and cosines, which are not stored."""
    model = new_sd3()
    model.load_state_dict(dict(model.named_buffers()) | weights, assign=True)
    return model


def predict(model: nn.Module, latent: Tensor, sigma: Tensor, context: Tensor, pooled: Tensor) -> Tensor:
    """The velocity noise - picture at noise level `sigma` (B,), for a latent (B, C, h, w) in model space."""
    velocity: Tensor = model(
        hidden_states=latent,
        encoder_hidden_states=context,
        pooled_projections=pooled,
        timestep=sigma * TRAINED_TIMES,
        return_dict=False,
    )[0]
    return velocity
