"""A cascade stage of one network that sees the person again, and is told the pose that it is to refine."""
import torch
from torch import nn

from .backbones import LITE
from .integral import IntegralNet, ticks


BEYOND = 9.0  # a place, window sides, so far beyond the window that nothing is told of it


class PoseRefiner(IntegralNet):
    """Stage 1's integral network, with a Gaussian map of each joint's incoming place added to its features at stride 4
    (after PoseFix, Moon et al., CVPR 2019, which adds them to the image).

    told_sigma  deviation of those Gaussians, window sides
    The others are IntegralNet's.
    """

    def __init__(self, backbone=LITE, joints=14, loss="smooth_l1", heatmap_weight=1.0, heatmap_sigma=1.5, channels=128,
                 image_channels=3, told_sigma=0.03):
        super().__init__(backbone, joints, loss, heatmap_weight, heatmap_sigma, channels, image_channels)
        self.arguments["told_sigma"] = self.told_sigma = told_sigma
        self.told = nn.Conv2d(joints, self.backbone.early_channels, 3, padding=1, bias=False)
        nn.init.zeros_(self.told.weight)  # an untrained stage is stage 1, looking at another window

    @property
    def outputs(self):
        return self.arguments["joints"]

    def completed(self, weights):
        """Stage 1's weights do not say how the pose is told: that stays as it is."""
        return {"told.weight": self.told.weight.detach()} | weights

    def forward(self, images, pose_window):
        """images (B, C, S, S) normalised, S a multiple of 32; pose_window (B, J, 2) the incoming pose in the window's
        frame -> heatmaps (B, J, S / 4, S / 4), unnormalised."""
        place = ticks(images.shape[-1] // 4, images.device)
        x, y = torch.exp(-((place - pose_window[..., None]) / self.told_sigma) ** 2 / 2).unbind(2)  # (B, J, S / 4) both
        return super().forward(images, self.told(y[..., :, None] * x[..., None, :]))


def begun_as(first, **arguments):
    """A PoseRefiner that begins as an IntegralNet, whose weights it takes; arguments go before the network's own."""
    network = PoseRefiner(**first.arguments | arguments)
    network.load_state_dict(first.state_dict(), strict=False)  # all but what the pose is told by
    network.global_contrast = first.global_contrast
    return network
