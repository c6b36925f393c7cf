"""Poses from trained networks, a batch at a time: stage 1 on boxes, later stages on windows round each joint."""
import torch

from .crops import box_windows, make_windows, oversampling_for, sample_windows, to_crop


@torch.inference_mode()
def predict_joints(model, crops, rows, context, input_size, batch_size=64, mirror=None):
    """Stage 1 on the boxes of chosen crops.

    model       network whose `joints(forward(images))` gives joints in the window's frame; evaluated, dropout off
    crops       (N, S, S, 3) uint8
    rows        (M,) int64 on the device of the network, the crops to look at
    input_size  pixels along the network's square input
    mirror      index of each joint's partner: average with the mirrored window's prediction; None = no flip test
    Returns     (M, J, 2) float32 on that device, crop pixels
    """
    model.eval()
    size, device = crops.shape[1], rows.device
    windows = box_windows(batch_size, size, context, device)
    mirrored = make_windows(windows[:, :, 2], windows[:, 1, 1], flipped=torch.ones(batch_size, device=device))
    oversampling = oversampling_for(size / context, input_size)
    poses = []
    for chosen in rows.split(batch_size):
        batch = crops[chosen]

        def see(windows, batch=batch):
            windows = windows[:len(batch)]
            images = sample_windows(batch, windows, input_size, oversampling)
            return to_crop(model.joints(model(images))[0], windows)

        pose = see(windows)
        poses.append(pose if mirror is None else (pose + see(mirrored)[:, list(mirror)]) / 2)
    return torch.cat(poses)


def diameters(joints_px, diameter_indices, smallest):
    """Left shoulder to right hip of complete poses, never below `smallest`.

    joints_px (N, J, 2), smallest in the same unit. Returns (N,).
    """
    a, b = diameter_indices
    return (joints_px[:, a] - joints_px[:, b]).norm(dim=-1).clamp(min=smallest)


@torch.inference_mode()
def displace_joint(model, crops, rows, centres, sides, output=0, batch_size=256):
    """One cascade network on windows round one joint's current estimates.

    crops    (N, S, S, 3) uint8, rows (M,) int64: the crops to look at
    centres  (M, 2) crop pixels, sides (M,) crop pixels
    output   which of the network's outputs is this joint's
    Returns  (M, 2) crop pixels: the estimates, displaced in full (DeepPose, eq. 6)
    """
    model.eval()
    windows = make_windows(centres, sides)
    size = model.arguments["crop_size"]
    # one rate for all windows, the median's: a rate per window would cost a pass per rate
    oversampling = oversampling_for(sides.median().item(), size)
    refined = []
    for chosen, batch_windows in zip(rows.split(batch_size), windows.split(batch_size)):
        images = sample_windows(crops[chosen], batch_windows, size, oversampling)
        refined.append(to_crop(model.joints(model(images))[0][:, [output]], batch_windows)[:, 0])
    return torch.cat(refined)


def refine_joints(networks, crops, rows, joints_px, sides, batch_size=256):
    """One cascade stage: every joint's window computed from the same incoming pose.

    networks   joint index -> (network, which of its outputs); joints without one stay as they are
    joints_px  (M, J, 2) the incoming poses of those rows, crop pixels
    sides      (M,) window sides, crop pixels
    Returns    (M, J, 2), a new tensor
    """
    refined = joints_px.clone()
    for joint, (model, output) in networks.items():
        refined[:, joint] = displace_joint(model, crops, rows, joints_px[:, joint], sides, output, batch_size)
    return refined
