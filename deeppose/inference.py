"""Poses from trained networks, a batch at a time: stage 1 on boxes, later stages on windows round each joint."""
import torch

from .crops import box_windows, make_windows, reduction_for, sample_windows, to_crop


@torch.inference_mode()
def predict_with_confidence(model, persons, rows, input_size, batch_size=64, flip_test=False, windows=None,
                            pixels=None):
    """Stage 1 on the boxes of chosen persons, or on other windows.

    model       network whose `joints(forward(images))` gives joints in the window's frame; evaluated, dropout off.
                For the flip test `mirrored` turns the mirrored images' output into one of the images
    persons     Crops on the device of the network
    rows        (M,) int64 on that device, the persons to look at
    input_size  pixels along the network's square input
    flip_test   average the network's output with that on the mirrored images
    windows     (M, 2, 3) on the persons' crops, in place of their boxes; pixels are averaged at the boxes' rate
    pixels      Pixels whose mean and deviation normalise the images; None = the persons' own
    Returns     joints (M, J, 2) float32 on that device, crop pixels; the network's confidence of each (M, J), or None
                where it has none
    """
    model.eval()
    if windows is None:
        boxes = box_windows(batch_size, persons.crop_size, persons.context, persons.device)
    partner = torch.tensor(persons.skeleton.mirror, device=persons.device)
    reduction = reduction_for(persons.box_side, input_size)

    poses, confidences, done = [], [], 0
    for crops, places in persons.crop_batches(rows.split(batch_size)):
        seen = boxes[:len(places)] if windows is None else windows[done:done + len(places)]
        done += len(places)
        images = sample_windows(crops, places, seen, input_size, reduction, pixels=pixels or persons.pixels)
        output = model(images)
        if flip_test:
            output = (output + model.mirrored(model(images.flip(3)), partner)) / 2
        joints, confidence = model.joints(output)
        poses.append(to_crop(joints, seen))
        confidences.append(confidence)
    return torch.cat(poses), None if confidence is None else torch.cat(confidences)


def predict_joints(*arguments, **more):
    """The joints of `predict_with_confidence`, (M, J, 2)."""
    return predict_with_confidence(*arguments, **more)[0]


def diameters(joints_px, skeleton, smallest):
    """The length of complete poses in which the cascade counts: the torso diameter, left shoulder to right hip; of a
    skeleton without it half the longer side of the pose's bounding box. Never below `smallest`.

    joints_px (N, J, 2), smallest in the same unit. Returns (N,).
    """
    if skeleton.diameter:
        a, b = skeleton.diameter_indices
        spans = (joints_px[:, a] - joints_px[:, b]).norm(dim=-1)
    else:
        spans = (joints_px.amax(1) - joints_px.amin(1)).amax(-1) / 2
    return spans.clamp(min=smallest)


@torch.inference_mode()
def refine_joints(networks, persons, rows, joints_px, sides, usual_side, batch_size=256, pixels=None):
    """One cascade stage: every joint's window computed from the same incoming pose, the displacement added in full
    (DeepPose, eq. 6).

    networks    joint index -> (network, which of its outputs); joints without one stay as they are
    persons     Crops on the device of the networks
    rows        (M,) int64 on that device, the persons to look at
    joints_px   (M, J, 2) their incoming poses, crop pixels
    sides       (M,) window sides, crop pixels
    usual_side  the median side in training, crop pixels: the rate at which pixels are averaged follows it, for all
                windows, so that a pose does not depend on who else is looked at
    pixels      see `predict_joints`
    Returns     (M, J, 2), a new tensor
    """
    for model, _ in networks.values():
        model.eval()
    refined = joints_px.clone()
    done = 0
    for crops, places in persons.crop_batches(rows.split(batch_size)):
        batch = slice(done, done := done + len(places))
        for joint, (model, output) in networks.items():
            windows = make_windows(joints_px[batch, joint], sides[batch])
            size = model.arguments["crop_size"]
            images = sample_windows(crops, places, windows, size, reduction_for(usual_side, size),
                                    pixels=pixels or persons.pixels)
            refined[batch, joint] = to_crop(model.joints(model(images))[0][:, [output]], windows)[:, 0]
    return refined
