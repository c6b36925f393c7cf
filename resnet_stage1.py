"""Stage 1: a torchvision ResNet that regresses all joints from one window."""
from pathlib import Path
from urllib.error import URLError

import torch
import torchvision
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from deeppose.errors import UserError
from deeppose.losses import masked_loss


class ResNetRegressor(nn.Module):
    """Joint coordinates from the pooled features (DeepPose, sec. 3.1, with a ResNet for AlexNet).

    backbone  a torchvision ResNet by name: resnet18, resnet34, resnet50, ...
    joints    number of joints J
    dropout   share of pooled features dropped, in training only
    loss      mse | smooth_l1
    freeze_batchnorm  leave BatchNorm's statistics and weights as they are, in training too
    """

    def __init__(self, backbone="resnet34", joints=14, dropout=0.6, loss="mse", freeze_batchnorm=False):
        super().__init__()
        if backbone not in resnets():
            raise UserError(f"no ResNet named {backbone!r} in torchvision; there are: {', '.join(resnets())}")
        self.arguments = {"backbone": backbone, "joints": joints, "dropout": dropout, "loss": loss}
        self.loss_name = loss
        self.backbone = torchvision.models.get_model(backbone, weights=None)
        features = self.backbone.fc.in_features
        self.backbone.fc = nn.Sequential(nn.Dropout(dropout), nn.Linear(features, joints * 2))
        self.freeze_batchnorm = freeze_batchnorm
        if freeze_batchnorm:
            for norm in self._batchnorms():
                norm.requires_grad_(False)

    def train(self, mode=True):
        super().train(mode)
        if self.freeze_batchnorm:
            for norm in self._batchnorms():
                norm.eval()
        return self

    def _batchnorms(self):
        return [module for module in self.backbone.modules() if isinstance(module, _BatchNorm)]

    def forward(self, images):
        """images (B, 3, H, W) normalised -> joints (B, J, 2) in the window's frame."""
        return self.backbone(images).float().unflatten(1, (-1, 2))  # (B, J*2) -> (B, J, 2)

    def loss(self, output, joints_window):
        """output and joints_window (B, J, 2); NaN joints add nothing. Returns a scalar, 0 if no joint counts."""
        return masked_loss(output, joints_window, self.loss_name)

    def joints(self, output):
        """Returns joints (B, J, 2) in the window's frame and their confidence, which a regressor has not: None."""
        return output, None

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
    """Initialise a ResNetRegressor's backbone.

    source  "imagenet": torchvision's default weights, downloaded once into torch's cache;
            "none": leave the random initialisation;
            anything else: a file with the state_dict of the same torchvision ResNet
    Raises  UserError where the weights can't be had or do not fit.
    """
    name = model.arguments["backbone"]
    if source == "none":
        return
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
    own = model.backbone.state_dict()
    wanted = {key for key in own if not key.startswith("fc.")}
    given = {key: value for key, value in state.items() if key in wanted and value.shape == own[key].shape}
    # older files lack BatchNorm's num_batches_tracked, which evaluation does not use
    if missing := {key for key in wanted - given.keys() if not key.endswith("num_batches_tracked")}:
        raise UserError(f"{source} does not fit {name}: {len(missing)} of {len(wanted)} tensors missing or of another "
                        f"shape, among them {min(missing)}")
    model.backbone.load_state_dict(given, strict=False)
