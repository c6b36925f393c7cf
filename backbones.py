"""What stage 1's networks stand on: torchvision's ResNets and EfficientNet-Lite0, and their initial weights."""
from pathlib import Path
from urllib.error import URLError

import torch
import torchvision
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from deeppose.errors import UserError
from efficientnet_lite import imagenet_file, load_weights

LITE = "efficientnet_lite0"


class Stage1Network(nn.Module):
    """What stage 1's networks share: made from a checkpoint, and BatchNorm that can be left as it is."""
    frozen = False

    def freeze_batchnorm(self, frozen):
        """Leave BatchNorm's statistics and weights as they are, in training too."""
        self.frozen = frozen
        for norm in self._batchnorms():
            norm.requires_grad_(not frozen)

    def train(self, mode=True):
        super().train(mode)
        for norm in self._batchnorms() if self.frozen else ():
            norm.eval()
        return self

    def _batchnorms(self):
        return [module for module in self.modules() if isinstance(module, _BatchNorm)]

    @classmethod
    def from_checkpoint(cls, checkpoint):
        """The network of a stage-1 checkpoint (as train_stage1.py saves it), in evaluation mode."""
        model = cls(**checkpoint["network"])
        model.load_state_dict(checkpoint["weights"])
        return model.eval()


def resnets():
    """Names of torchvision's ResNets (also ResNeXt and Wide ResNet, which share their form)."""
    models = torchvision.models
    return [name for name in models.list_models()
            if models.get_model_builder(name).__module__ == models.resnet.__name__]


def load_backbone(model, source):
    """Initialise a stage-1 network's backbone.

    source  "imagenet": torchvision's default weights, downloaded once into torch's cache, or those of
            efficientnet_lite0's package;
            "none": leave the random initialisation;
            anything else: a file with the state_dict of the same torchvision ResNet, or the package's file
    Raises  UserError where the weights can't be had or do not fit.
    """
    name = model.arguments["backbone"]
    if source == "none":
        return
    if source == "imagenet" and name == LITE:
        source = imagenet_file()
    if source == "imagenet":
        weights = torchvision.models.get_model_weights(name).DEFAULT
        try:
            state = weights.get_state_dict(progress=True, check_hash=True)
        except (URLError, OSError, RuntimeError) as error:
            cached = Path(torch.hub.get_dir(), "checkpoints", weights.url.rsplit("/", 1)[-1])
            raise UserError(
                f"ImageNet weights of {name} can't be downloaded ({error}). Choices:\n"
                f"  put {weights.url}\n    at {cached}\n"
                f"  --weights FILE    a file with torchvision's {name} weights\n"
                f"  --weights none    start from random weights") from None
    else:
        try:
            state = torch.load(source, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            raise UserError(f"weights file {Path(source).resolve()} not found; "
                            "--weights takes a file, 'imagenet' or 'none'") from None
        except Exception as error:  # torch raises many kinds for what is no weights file
            reason = str(error).splitlines()[0]
            raise UserError(f"{Path(source).resolve()} is not a file of weights: {reason}") from None
    if name == LITE:
        return load_weights(model.backbone, state, source)
    own = model.backbone.state_dict()
    wanted = {key for key in own if not key.startswith("fc.")}
    given = {key: value for key, value in state.items() if key in wanted and value.shape == own[key].shape}
    # older files lack BatchNorm's num_batches_tracked, which evaluation does not use
    if missing := {key for key in wanted - given.keys() if not key.endswith("num_batches_tracked")}:
        raise UserError(f"{source} does not fit {name}: {len(missing)} of {len(wanted)} tensors missing or of another "
                        f"shape, among them {min(missing)}")
    model.backbone.load_state_dict(given, strict=False)
