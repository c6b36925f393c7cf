"""Stage 1: a ResNet (or another backbone) that regresses all joints from one window."""
from torch import nn

from deeppose.losses import coordinate_loss, masked_loss
from deeppose.precision import in_float32
from networks.alexnet import ALEXNETS
from networks.backbones import Stage1Network
from networks.residual_likelihood import ResidualLikelihood


class ResNetRegressor(Stage1Network):
    """Joint coordinates from the pooled features (DeepPose, sec. 3.1, with a ResNet for AlexNet).

    backbone        a torchvision ResNet by name: resnet18, resnet34, resnet50, ...; or efficientnet_lite0, alexnet (the
                    paper's own) or alexnet_bn
    joints          number of joints J
    dropout         share of pooled features dropped, in training only; AlexNet: before each wide layer instead
    loss            mse | smooth_l1 | rle: the last also gives the errors' deviations, and learns from their likelihood
    image_channels  C of the images, 3 or 1
    """

    def __init__(self, backbone="resnet34", joints=14, dropout=0.6, loss="mse", image_channels=3):
        super().__init__(backbone, pooled=True, dropout=dropout, image_channels=image_channels)
        self.arguments = {"backbone": backbone, "joints": joints, "dropout": dropout, "loss": loss,
                          "image_channels": image_channels}
        self.likelihood = ResidualLikelihood() if loss == "rle" else None
        self.loss_name = coordinate_loss("smooth_l1" if self.likelihood else loss)
        dropped = nn.Dropout(0.0 if backbone in ALEXNETS else dropout)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), dropped,
                                  nn.Linear(self.widths[-1], joints * (4 if self.likelihood else 2)))

    def forward(self, images):
        """images (B, C, H, W) normalised -> joints (B, J, 2) in the window's frame; rle: (B, J, 4), before the
        deviations' sigmoid."""
        return in_float32(self.head, self.features(images)[-1]).unflatten(1, (self.arguments["joints"], -1))

    def loss(self, output, joints_window):
        """output of `forward`, joints_window (B, J, 2); NaN joints add nothing. Returns a scalar, 0 if no joint
        counts."""
        if self.likelihood:
            return self.likelihood.loss(output[..., :2], output[..., 2:].sigmoid(), joints_window)
        return masked_loss(output, joints_window, self.loss_name)

    def joints(self, output):
        """Returns joints (B, J, 2) in the window's frame and their confidence (B, J): 1 - the mean deviation, or None
        where the network gives no deviations."""
        return output[..., :2], 1 - output[..., 2:].sigmoid().mean(-1) if self.likelihood else None

    def mirrored(self, output, partner):
        """What the mirrored image's output says of the image itself. partner (J,): each joint's on the other side."""
        output = output[:, partner].clone()
        output[..., 0] *= -1
        return output
