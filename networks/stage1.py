"""Stage 1's networks by the name that --network gives them. A further one is a file beside this, an entry here, and a
name in train_stage1.py beside NETWORK."""
import inspect

from deeppose.errors import UserError
from resnet_stage1 import ResNetRegressor

from .alexnet import ALEXNETS, SMALLEST
from .heatmap import HeatmapNet
from .integral import IntegralNet

NETWORKS = {"regression": ResNetRegressor, "integral": IntegralNet, "heatmap": HeatmapNet}


def new_network(name, joints, input_size, options):
    """A network of random weights.

    name        of NETWORKS
    joints      number of joints J
    input_size  side of the images that it will see, pixels
    options     name -> value; the network takes what its constructor has an argument for, None leaves the default.
                "image_channels" is what the images have
    Raises      UserError where it can't be made so
    """
    kind = NETWORKS[name]
    if options.get("backbone") in ALEXNETS and input_size < SMALLEST:
        raise UserError(f"--input-size {input_size}: AlexNet's smallest is {SMALLEST}")
    if input_size % kind.input_step:
        raise UserError(f"--input-size {input_size}: --network {name} needs a multiple of {kind.input_step}")
    known = inspect.signature(kind).parameters
    if (channels := options.get("image_channels", 3)) != 3 and "image_channels" not in known:
        raise UserError(f"--network {name} takes images of 3 channels, and these have {channels}; take another, or "
                        "give its constructor an argument image_channels")
    return kind(joints=joints, **{key: value for key, value in options.items() if key in known and value is not None})
