"""Stage 1's scores on the validation persons."""
import numpy as np

from .crops import box_windows, to_window
from .errors import UserError
from .inference import predict_with_confidence
from .losses import masked_loss
from .metrics import joint_hits, limb_hits, overall_mean, reference_lengths


def evaluate(model, persons, rows, input_size, batch_size, group):
    """Predict and score chosen persons; each process predicts its share of them, and all score the whole.

    model    stage-1 network on the persons' device
    rows     (M,) int64 there
    group    distributed.Group
    Returns  dict: "validation_loss" of the coordinates, `scores_of` all, "pdj_NAME" (or "pck_box_NAME") of each data
             set where there are several; and the spread of the predictions in the truth's (standard deviation over
             persons, mean over coordinates)
    """
    predicted_px = group.gathered(predict_with_confidence(model, persons, group.share(rows), input_size, batch_size)[0])
    truth_px = persons.joints_px[rows]
    windows = box_windows(len(rows), persons.crop_size, persons.context, rows.device)
    loss = masked_loss(to_window(predicted_px, windows), to_window(truth_px, windows), model.loss_name).item()
    predicted, truth = predicted_px.cpu().numpy(), truth_px.cpu().numpy()
    scores = {"validation_loss": loss, **scores_of(predicted, truth, persons.skeleton, persons.box_side)}
    sources, pdj = persons.sources[rows.cpu().numpy()], progress(persons.skeleton)
    if len(names := sorted(set(sources))) > 1:
        scores |= {f"{pdj}_{name}": scores_of(predicted[sources == name], truth[sources == name], persons.skeleton,
                                              persons.box_side)[pdj] for name in names}
    return scores, spread_of(predicted, truth)


def spread_of(predicted, truth):
    """How far predictions spread over persons, in the truth's spread: the median over the joints' coordinates that
    differ between persons; NaN where none does.

    predicted, truth  (M, J, 2) same frame, NaN truth = not annotated
    """
    known = ~np.isnan(truth)
    seen = known.sum(0) > 1  # (J, 2)
    own, its = (np.std(each[:, seen], axis=0, where=known[:, seen]) for each in (predicted, np.nan_to_num(truth)))
    differs = its > 1e-6
    return float(np.median(own[differs] / its[differs])) if differs.any() else np.nan


def scores_of(predicted, truth, skeleton, box_side):
    """PDJ@0.2 and strict PCP@0.5 of the paper's eight limbs, or of all where a skeleton does not name those. Without a
    torso diameter PDJ is "pck_box", PCK at 0.1 of the box; without limbs there is no PCP.

    predicted, truth  (M, J, 2) same frame, NaN truth = not annotated
    box_side          in its unit
    Returns           {"pdj" or "pck_box", "pcp"} in percent; NaN where nobody has what it is measured with
    """
    hits = joint_hits(predicted, truth, reference_lengths(truth, skeleton, box_side), 0.2)
    scores = {progress(skeleton): 100 * overall_mean(hits)}
    if skeleton.limbs:
        limbs = limb_hits(predicted, truth, skeleton)
        scores["pcp"] = 100 * overall_mean(limbs[:, skeleton.paper_limb_indices] if skeleton.paper_limbs else limbs)
    return scores


def progress(skeleton):
    """The name of the first of `scores_of`."""
    return "pdj" if skeleton.diameter else "pck_box"


def measure_of(best_by, skeleton):
    """The column of the log by which --best-by pdj, pcp or loss chooses an epoch.

    Raises UserError where the skeleton lacks what it is measured with and nothing stands for it
    """
    if best_by == "pcp" and not skeleton.limbs:
        raise UserError("--best-by pcp: the skeleton has no limbs; choose pdj or loss")
    return {"pdj": progress(skeleton), "loss": "validation_loss"}.get(best_by, best_by)
