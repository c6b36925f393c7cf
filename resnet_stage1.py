"""Stage 1: a torchvision ResNet that regresses all joints from one window."""
import torchvision
from torch import nn

from backbones import Stage1Network, resnets
from deeppose.errors import UserError
from deeppose.losses import masked_loss


class ResNetRegressor(Stage1Network):
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
        self.freeze_batchnorm(freeze_batchnorm)

    def forward(self, images):
        """images (B, 3, H, W) normalised -> joints (B, J, 2) in the window's frame."""
        return self.backbone(images).float().unflatten(1, (-1, 2))  # (B, J*2) -> (B, J, 2)

    def loss(self, output, joints_window):
        """output and joints_window (B, J, 2); NaN joints add nothing. Returns a scalar, 0 if no joint counts."""
        return masked_loss(output, joints_window, self.loss_name)

    def joints(self, output):
        """Returns joints (B, J, 2) in the window's frame and their confidence, which a regressor has not: None."""
        return output, None
