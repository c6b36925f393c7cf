"""Float32 for what gives coordinates out, whatever the rest of a network computes in."""
import torch


def in_float32(layer, x):
    """layer(x) in float32, under autocast too: bfloat16 would move a joint by up to a quarter of a pixel in 256. A GPU
    that has TensorFloat-32 takes that for convolutions, as torch lets it: three bits more than bfloat16."""
    with torch.autocast(x.device.type, enabled=False):
        return layer(x.float())
