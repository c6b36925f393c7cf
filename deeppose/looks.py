"""How poses, images and scores look wherever they are shown: colours, the lines of a limb, greys, titles."""
import numpy as np

# after the palette of Okabe and Ito, which people of any colour vision can tell apart
COLOURS = {"right": (230, 159, 0), "left": (86, 180, 233), "centre": (240, 100, 170)}  # of the person's sides
TRUTH, OUTLINE = (255, 255, 255), (20, 20, 20)
DARKEST, MIDDLE = 32, (1, 99)  # of 16 bits: the grey of the least that was measured; percentiles that are told apart

# of a training log's columns, which may go on with the data set: pdj_lsp
LOSSES = {"validation_loss": "validation", "training_loss": "training, not augmented"}
SCORES = {"pdj": "PDJ@0.2", "pcp": "strict PCP@0.5", "pck_box": "PCK@0.1 of the box"}


def score_title(column):
    """What a training log's column of scores is called: "pdj_lsp" -> "PDJ@0.2, lsp"."""
    own = next(name for name in SCORES if column.startswith(name))
    return SCORES[own] + column.removeprefix(own).replace("_", ", ", 1)


def segments(joints, skeleton):
    """The lines that a pose's limbs are drawn by.

    joints   (J, 2), NaN = missing
    Returns  list of (ends (2, 2), names of the limb's joints); where one is missing the ends that it gives are NaN
    """
    found = []
    for limb in skeleton.limbs.values():
        ends = [[skeleton.index(name) for name in end] for end in limb]
        pairs = [[joints[end].mean(0) for end in ends]] + [joints[end] for end in ends if len(end) == 2]
        found += [(np.array(pair), [name for end in limb for name in end]) for pair in pairs]
    return found


def on_screen(image):
    """An image of one channel or three, of 8 bits or 16, as RGB: (H, W, C) uint8 or uint16 -> (H, W, 3) uint8.

    8 bits stay as they are. What 16 bits hold is stretched between percentiles, and 0 is black: not measured, in depth.
    """
    if image.dtype == np.uint16:
        measured = image[image > 0]
        low, high = np.percentile(measured, MIDDLE) if measured.size else (0, 1)
        grey = DARKEST + (255 - DARKEST) / max(1, high - low) * (image.astype(np.float32) - low)
        image = np.where(image > 0, grey.clip(DARKEST, 255), 0).astype(np.uint8)
    return image.repeat(3, 2) if image.shape[2] == 1 else image
