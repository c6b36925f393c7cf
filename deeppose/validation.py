"""Stage 1's scores on the validation persons."""
import numpy as np

from .crops import box_windows, to_window
from .inference import predict_joints
from .losses import masked_loss
from .metrics import diameters, joint_hits, limb_hits, overall_mean


def evaluate(model, persons, rows, input_size, batch_size, group):
    """Predict and score chosen persons; each process predicts its share of them, and all score the whole.

    model    stage-1 network on the persons' device
    rows     (M,) int64 there
    group    distributed.Group
    Returns  dict: "validation_loss" of the coordinates, `scores_of` all, "pdj_NAME" of each data set where there are
             several; and the spread of the predictions in the truth's (standard deviation over persons, mean over
             coordinates)
    """
    predicted_px = group.gathered(predict_joints(model, persons, group.share(rows), input_size, batch_size))
    truth_px = persons.joints_px[rows]
    windows = box_windows(len(rows), persons.crop_size, persons.context, rows.device)
    loss = masked_loss(to_window(predicted_px, windows), to_window(truth_px, windows), model.loss_name).item()
    predicted, truth = predicted_px.cpu().numpy(), truth_px.cpu().numpy()
    scores = {"validation_loss": loss, **scores_of(predicted, truth, persons.skeleton)}
    sources = persons.sources[rows.cpu().numpy()]
    if len(names := sorted(set(sources))) > 1:
        scores |= {f"pdj_{name}": scores_of(predicted[sources == name], truth[sources == name], persons.skeleton)["pdj"]
                   for name in names}
    seen = ~np.isnan(truth).all(0)  # (J, 2); a joint may be annotated on nobody here
    spread = predicted.std(0)[seen] / np.nanstd(truth[:, seen], axis=0).clip(min=1e-6)
    return scores, float(spread.mean())


def scores_of(predicted, truth, skeleton):
    """PDJ@0.2 and strict PCP@0.5 of the paper's eight limbs.

    predicted, truth  (M, J, 2) same frame, NaN truth = not annotated
    Returns           {"pdj", "pcp"} in percent; NaN where nobody has what it is measured with
    """
    hits = joint_hits(predicted, truth, diameters(truth, skeleton), 0.2)
    limbs = limb_hits(predicted, truth, skeleton)[:, skeleton.paper_limb_indices]
    return {"pdj": 100 * overall_mean(hits), "pcp": 100 * overall_mean(limbs)}
