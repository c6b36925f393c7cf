"""Trained stages as one module without a branch that depends on its input, from stored crops to joints: for export."""
import torch
import torch.nn.functional as F
from torch import nn

from deeppose.crops import box_windows, make_windows, reduction_for, to_crop, window_points
from deeppose.inference import both_sure, diameters, look_again, output_on

from .trained_stages import PoseStage, calibration_of, flip_test_of, probabilities


class OneGraph(nn.Module):
    """What `run_with_confidence` computes.

    stages     [Stage1, CascadeStage, ...]
    flip_test  of stage 1; a cascade has its own
    """

    def __init__(self, stages, flip_test=False):
        super().__init__()
        self.first, self.later = stages[0], stages[1:]
        self.flip_test = flip_test_of(stages, flip_test)
        self.calibration = calibration_of(stages, self.flip_test)
        self.box_side = self.first.crop_size / self.first.context
        networks = [self.first.network, *(network for stage in self.later for network, _ in stage.networks.values())]
        self.parts = nn.ModuleList(dict.fromkeys(networks))  # once each, so that their weights are found
        self.eval()

    def forward(self, crops):
        """crops (N, S, S, C) uint8 or uint16 -> joints (N, J, 2), crop pixels; confidence (N, J) where there is one."""
        first = self.first
        pixels = crops.permute(0, 3, 1, 2).float()  # (N, C, S, S)
        # not len(), which would fix the batch's size
        windows = box_windows(1, first.crop_size, first.context).expand(crops.shape[0], 2, 3)
        images = look(pixels, windows, first.input_size, self.box_side, first.pixels)
        partner = torch.tensor(first.skeleton.mirror) if self.flip_test else None
        joints, own = first.network.joints(output_on(first.network, images, partner))
        joints = to_crop(joints, windows)
        for stage in self.later:
            if isinstance(stage, PoseStage):
                joints, own = self._seen_again(stage, pixels, joints, own)
            else:
                joints = self._refined(stage, pixels, joints)
        if self.calibration is None or own is None:
            return (joints,) if own is None else (joints, own)
        return joints, probabilities(self.calibration, joints, own, first.skeleton, self.box_side)

    def _seen_again(self, stage, pixels, joints, own):
        """As PoseStage.refine_with_confidence."""
        if stage.still:
            return joints, own
        windows, reach = stage.windows(joints, self.first.skeleton, self.box_side)
        images = look(pixels, windows, stage.input_size, stage.usual_side * self.box_side, stage.pixels)
        joints, sure = look_again(stage.network, images, windows, joints, reach,
                                  torch.tensor(self.first.skeleton.mirror), stage.flip_test)
        return joints, both_sure(own, sure)

    def _refined(self, stage, pixels, joints):
        """As CascadeStage.refine_with_confidence, of the pose alone."""
        sides = stage.sigma * diameters(joints, self.first.skeleton, stage.smallest_diameter * self.box_side)
        refined = list(joints.unbind(1))
        for joint, (network, output) in stage.networks.items():
            windows = make_windows(joints[:, joint], sides)
            images = look(pixels, windows, network.arguments["crop_size"], stage.usual_side * self.box_side,
                          stage.pixels)
            refined[joint] = to_crop(network.joints(network(images))[0][:, [output]], windows)[:, 0]
        return torch.stack(refined, 1)


def look(pixels, windows, size, usual_side, normal):
    """What a network sees, as `crops.sample_windows` gives it: window i on crop i.

    pixels      (N, C, S, S) float32, as stored
    windows     (N, 2, 3)
    usual_side  of the windows, crop pixels, which the reduction follows
    normal      Pixels that normalise them
    Returns     (N, C, size, size)
    """
    reduction = reduction_for(usual_side, size)
    side = pixels.shape[-1] // reduction
    pixels = F.avg_pool2d(pixels, reduction)  # leaves out a last pixel or two that do not fill a square
    windows = torch.cat([windows[:, :, :2], windows[:, :, 2:] - (reduction - 1) / 2], 2) / reduction
    points = window_points(windows, size)  # (N, size, size, 2)
    seen = F.grid_sample(pixels, (2 * points + 1) / side - 1, align_corners=False)
    inside = torch.minimum(points + 1, side - points).clamp(0, 1)  # beyond the crop the sampling fades to 0
    inside = (inside[..., 0] * inside[..., 1])[:, None]
    mean, deviation = (torch.tensor(values).view(-1, 1, 1) for values in (normal.mean, normal.deviation))
    return (seen - inside * mean) / deviation
