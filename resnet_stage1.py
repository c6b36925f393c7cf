"""Stage 1: a ResNet (or a smaller backbone) that regresses all joints from one window."""
from torch import nn

from backbones import Stage1Network
from deeppose.losses import masked_loss


class ResNetRegressor(Stage1Network):
    """Joint coordinates from the pooled features (DeepPose, sec. 3.1, with a ResNet for AlexNet).

    backbone  a torchvision ResNet by name: resnet18, resnet34, resnet50, ...; or efficientnet_lite0
    joints    number of joints J
    dropout   share of pooled features dropped, in training only
    loss      mse | smooth_l1
    """

    def __init__(self, backbone="resnet34", joints=14, dropout=0.6, loss="mse"):
        super().__init__(backbone)
        self.arguments = {"backbone": backbone, "joints": joints, "dropout": dropout, "loss": loss}
        self.loss_name = loss
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout),
                                  nn.Linear(self.widths[-1], joints * 2))

    def forward(self, images):
        """images (B, 3, H, W) normalised -> joints (B, J, 2) in the window's frame."""
        return self.head(self.features(images)[-1]).float().unflatten(1, (-1, 2))  # (B, J*2) -> (B, J, 2)

    def loss(self, output, joints_window):
        """output and joints_window (B, J, 2); NaN joints add nothing. Returns a scalar, 0 if no joint counts."""
        return masked_loss(output, joints_window, self.loss_name)

    def joints(self, output):
        """Returns joints (B, J, 2) in the window's frame and their confidence, which a regressor has not: None."""
        return output, None
