"""What the overhead is measured on."""

import torch

from bench.overhead import DEMO


def test_the_model_takes_the_arguments_of_its_call():
    device, dtype = torch.device("cpu"), torch.float32
    model = DEMO.build(device, dtype, is_tiny=False)
    arguments = DEMO.arguments(device, dtype, is_tiny=False)
    level = torch.full((2,), DEMO.timestep_unit)
    with torch.inference_mode():
        output = model(timestep=level, **arguments, return_dict=False)[0]
    assert output.shape == arguments["hidden_states"].shape
