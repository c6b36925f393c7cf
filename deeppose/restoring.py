"""A network made again from what a checkpoint holds: the arguments that it was made with, and its weights."""
import inspect
import math

import torch

from .checkpoints import weights_fault
from .errors import Failure, UserError

# arguments that came after the first checkpoints, which lack them: there they have their defaults
LATER = ("image_channels",)


def restored(kind, checkpoint):
    """The network of a checkpoint, in evaluation mode.

    kind        class of the network; each of its arguments has a default
    checkpoint  dictionary; under "network" all of those arguments (older ones: but LATER), under "weights" the
                state_dict
    Raises      Failure, which does not name the file, where they are no such network's
    """
    arguments, weights = checkpoint.get("network"), checkpoint.get("weights")
    again = "train it again"
    if fault := _arguments_fault(kind, arguments):
        raise Failure(f"its network can't be made again: {fault}; {again}")
    try:
        with torch.device("meta"):  # which takes no memory, however large the arguments pretend it is
            shapes = kind(**arguments)
    except (ArithmeticError, RuntimeError, TypeError, ValueError, UserError) as error:
        raise Failure(f"its network can't be made again: {str(error).splitlines()[0]}; {again}") from None
    if fault := misfit(shapes, weights):
        raise Failure(f"{fault}; {again}")
    network = kind(**arguments)
    network.load_state_dict(weights)
    return network.eval()


def misfit(network, weights):
    """Why weights are not a state_dict of the network, in words; None where they are one."""
    if not isinstance(weights, dict):
        return f"its weights are a {type(weights).__name__}"
    if fault := weights_fault(weights):
        return f"it {fault}"
    own = network.state_dict()
    for name in sorted(own.keys() | weights.keys(), key=str):
        here, there = (form(state[name]) if name in state else "none" for state in (own, weights))
        if here != there:
            return (f"its weights are of another network, or of an older version's: {name} is {here} here and {there} "
                    "there")
    return None


def form(tensor):
    """In words a tensor's shape, and its type where that is not a real number's."""
    return f"{tuple(tensor.shape)}" + ("" if tensor.is_floating_point() else f" {tensor.dtype}")


def _arguments_fault(kind, arguments):
    if not isinstance(arguments, dict):
        return f"its arguments are a {type(arguments).__name__}"
    defaults = {name: parameter.default for name, parameter in inspect.signature(kind).parameters.items()}
    for name in sorted(defaults.keys() | arguments.keys(), key=str):
        if name in LATER and name in defaults and name not in arguments:
            continue
        if name not in arguments or name not in defaults:
            return f"argument {name!r} is {'missing' if name in defaults else 'unknown'}"
        value, wanted = arguments[name], type(defaults[name])
        if type(value) is not wanted and (type(value), wanted) != (int, float):
            return f"{name} is a {type(value).__name__}, not a {wanted.__name__}"
        if wanted is float and not math.isfinite(value):
            return f"{name} is {value}"
    return None
