"""Poses smoothed over the frames of a film: Savitzky & Golay, Analytical Chemistry, 1964, a polynomial fitted to each
joint's neighbourhood in time. It keeps steady motion, which a moving average would shorten."""
import functools

import numpy as np

from .person_boxes import shared

ORDER = 2          # of the polynomial
LEAST_SHARED = 0.3  # of the boxes of one person in neighbouring frames


def windows(items, reach):
    """Each of a sequence with its neighbours: a list of up to `reach` before it, itself and as many after it, and its
    place in there. No more are kept."""
    recent, place = [], 0
    for item in items:
        recent.append(item)
        if len(recent) - place > reach:
            yield recent, place
            place += 1
            if place > reach:
                recent, place = recent[1:], place - 1
    while place < len(recent):
        yield recent, place
        place += 1
        if place > reach:
            recent, place = recent[1:], place - 1


def smoothed(frames, place):
    """The poses of a frame, smoothed.

    frames   list of (joints (P, J, 2), boxes (P, 3)) of consecutive frames, P of each its own
    place    of the frame among them
    Returns  (P, J, 2); each person is followed to both sides as long as the next frame has a box much like the last.
             Joints that are no numbers stay so, and make their neighbours so
    """
    joints, boxes = frames[place]
    result = np.array(joints)
    for person, (pose, box) in enumerate(zip(joints, boxes)):
        before = _followed(reversed(frames[:place]), box)[::-1]
        track = np.stack([*before, pose, *_followed(frames[place + 1:], box)])  # (T, J, 2)
        if len(track) > ORDER + 1:  # to fewer the polynomial fits exactly
            result[person] = np.tensordot(_weights(len(track), len(before)), track, 1)
    return result


def _followed(frames, box):
    """The poses (J, 2) of the person of a box in one frame after another, as long as it can be told."""
    poses = []
    for joints, boxes in frames:
        if not len(boxes):
            break
        alike = shared(boxes, np.broadcast_to(box, boxes.shape))
        if alike.max() < LEAST_SHARED:
            break
        box = boxes[alike.argmax()]
        poses.append(joints[alike.argmax()])
    return poses


@functools.cache
def _weights(length, place):
    """Of each of `length` frames in the polynomial's value at one of them."""
    from scipy.signal import savgol_coeffs  # here, since few runs smooth
    return savgol_coeffs(length, ORDER, pos=place, use="dot")
