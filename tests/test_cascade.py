"""The windows of the cascade in training and at test."""
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import train_stage2
from deeppose import arrays
from deeppose.cascade import CascadeData, PoseData
from deeppose.crops import make_windows
from deeppose.error_model import ErrorModel, ErrorSampler, fit_error_model
from deeppose.inference import diameters, predict_with_confidence, refine_joints
from deeppose.persons import Persons
from deeppose.pixels import RGB
from deeppose.skeletons import LSP
from networks.trained_stages import CascadeStage, PoseStage
from resnet_stage1 import ResNetRegressor

SIZE, CONTEXT = 96, 1.5
NECK, R_KNEE, L_KNEE = (LSP.index(name) for name in ("neck", "r_knee", "l_knee"))


def poses(count, seed=0):
    return torch.rand(count, 14, 2, generator=torch.Generator().manual_seed(seed)) * 60 + 18


def people(crops, joints_px=None, streamed=False):
    """Persons whose crops are given, and their joints if they are known."""
    if joints_px is None:
        joints_px = torch.full((len(crops), 14, 2), torch.nan)
    return Persons(crops, joints_px, None, None, None, LSP, CONTEXT, {}, streamed)


def cascade_data(residual, truth, estimate, sigma=2.0, held_out=None):
    """What train_stage2.CascadeData holds, with one and the same error for every draw."""
    count = len(truth)
    persons = people(torch.zeros(count, SIZE, SIZE, 3, dtype=torch.uint8), truth)
    residuals = np.tile(np.float32(residual), (1, 14, 1))
    model = ErrorModel(residuals, residuals[0], np.zeros((14, 2, 2)), 0.01, False, "", "", "", "", False)
    spans = diameters(estimate, LSP, 1.0)
    return SimpleNamespace(
        persons=persons, device=truth.device, errors=model, sampler=ErrorSampler(model, "residuals", "cpu"),
        poses_px=estimate,
        diameters=spans, sides=sigma * spans, usual_side=(sigma * spans).median().item(),
        mirror=torch.tensor(LSP.mirror),
        annotated=~truth.isnan().any(-1),
        held_out=torch.zeros(count, dtype=torch.bool) if held_out is None else held_out)


def draw(data, joint, **knobs):
    settings = SimpleNamespace(**{"crop_size": 67, "scale": (1.0, 1.0), "rotation": 0.0, "flip": 0.0, "colour": 0.0,
                                  "shared_network": False, "missed": True} | knobs)
    pairs = train_stage2.training_pairs(data, torch.tensor([joint]))
    outside = torch.zeros(2)
    images, target = next(train_stage2.batches(data, [pairs], outside, torch.Generator().manual_seed(0), settings))
    assert outside[1] == len(pairs)
    return images, target, int(outside[0])


def test_windows_stand_at_truth_plus_error_and_the_target_leads_back():
    truth, estimate = poses(50), poses(50, seed=1)
    images, target, outside = draw(cascade_data([0.3, -0.2], truth, estimate), NECK)
    assert images.shape == (50, 3, 67, 67) and target.shape == (50, 1, 2)
    # the error is in diameters of the predicted pose, the target in window sides, sigma = 2 diameters
    assert torch.allclose(target[:, 0], torch.tensor([-0.15, 0.1]).expand(50, 2), atol=1e-5)
    assert outside == 0
    moved = draw(cascade_data([0.3, -0.2], truth, poses(50, seed=2)), NECK)[1]
    assert torch.allclose(moved, target, atol=1e-5)  # whatever the estimate: it sets the size only


def test_a_mirrored_window_trains_the_partner_with_the_same_target():
    truth = poses(40)
    truth[:, R_KNEE] = torch.nan  # only left knees: each must come mirrored to the right knee's network
    data = cascade_data([0.3, -0.2], truth, poses(40, seed=1))
    _, target, _ = draw(data, R_KNEE, flip=0.0)
    assert torch.allclose(target[:, 0], torch.tensor([-0.15, 0.1]).expand(40, 2), atol=1e-5)
    _, both, _ = draw(cascade_data([0.3, -0.2], poses(40), poses(40, seed=1)), R_KNEE, flip=0.5)
    assert torch.allclose(both[:, 0], torch.tensor([-0.15, 0.1]).expand(40, 2), atol=1e-5)


def test_turned_and_scaled_windows_turn_and_scale_the_target():
    data = cascade_data([0.3, 0.0], poses(200), poses(200, seed=1))
    _, turned, _ = draw(data, NECK, rotation=30.0)
    assert torch.allclose(turned[:, 0].norm(dim=1), torch.full((200,), 0.15), atol=1e-5)
    angles = torch.rad2deg(torch.atan2(turned[:, 0, 1], -turned[:, 0, 0]))
    assert 28 < angles.abs().max() <= 30.01
    _, scaled, _ = draw(data, NECK, scale=(0.5, 2.0))
    lengths = scaled[:, 0].norm(dim=1)
    assert 0.075 - 1e-5 <= lengths.min() < 0.085 and 0.27 < lengths.max() <= 0.3 + 1e-5


def test_truths_beyond_their_window_are_counted_and_kept():
    _, target, outside = draw(cascade_data([1.2, 0.0], poses(30), poses(30, seed=1)), NECK)
    assert outside == 30
    assert torch.allclose(target[:, 0, 0], torch.tensor(-0.6), atol=1e-5)


def test_without_missed_only_truths_within_their_window_are_learnt():
    data = cascade_data([0.9, 0.0], poses(200), poses(200, seed=1))  # 0.45 sides: some lie within, as scales differ
    _, target, outside = draw(data, NECK, scale=(0.8, 1.25))
    _, kept, counted = draw(data, NECK, scale=(0.8, 1.25), missed=False)
    within = (target[:, 0].abs() <= 0.5).all(-1)
    assert 0 < outside < 200 and counted == outside == (~within).sum()
    assert torch.equal(kept[within], target[within]) and kept[~within].isnan().all()


def test_held_out_and_unannotated_persons_train_nothing():
    truth = poses(10)
    truth[:4, NECK] = torch.nan
    held_out = torch.arange(10) >= 8
    pairs = train_stage2.training_pairs(cascade_data([0, 0], truth, poses(10), held_out=held_out), torch.tensor([NECK]))
    assert pairs.tolist() == [[row, NECK] for row in (4, 5, 6, 7)]


def test_the_windows_size_has_a_floor():
    joints = poses(3)
    joints[0, LSP.index("l_shoulder")] = joints[0, LSP.index("r_hip")]
    spans = diameters(joints, LSP, 5.0)
    assert spans[0] == 5 and torch.allclose(spans[1:], diameters(joints, LSP, 0.0)[1:])


class Constant(torch.nn.Module):
    """A cascade network that gives the same displacement for every window."""
    arguments = {"crop_size": 67}

    def __init__(self, displacement):
        super().__init__()
        self.displacement = torch.tensor(displacement)

    def forward(self, crops):
        return self.displacement.expand(len(crops), 1, 2)

    def joints(self, output):
        return output, None


def test_displacements_are_added_in_full_in_window_sides():
    rows, sides = torch.tensor([4, 2, 0]), torch.tensor([10.0, 20.0, 30.0])
    persons = people(torch.zeros(5, SIZE, SIZE, 3, dtype=torch.uint8))
    moved = refine_joints({3: (Constant([0.1, -0.2]), 0)}, persons, rows, torch.full((3, 14, 2), 40.0), sides,
                          20.0, batch_size=2)
    assert torch.allclose(moved[:, 3], torch.tensor([[41.0, 38.0], [42.0, 36.0], [43.0, 34.0]]), atol=1e-4)


def test_the_rate_at_which_pixels_are_averaged_is_the_trainings_not_the_rows_own():
    seen = []

    class Seeing(Constant):
        arguments = {"crop_size": 67}

        def forward(self, crops):
            seen.append(crops.clone())
            return super().forward(crops)

    crops = torch.randint(0, 255, (3, SIZE, SIZE, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    persons, rows, pose = people(crops), torch.arange(3), torch.full((3, 14, 2), SIZE / 2)
    sides = torch.tensor([30.0, 300.0, 400.0])
    network = {3: (Seeing([0.0, 0.0]), 0)}
    refine_joints(network, persons, rows, pose, sides, 200.0)
    refine_joints(network, persons, rows[:1], pose[:1], sides[:1], 200.0)
    refine_joints(network, persons, rows[:1], pose[:1], sides[:1], 67.0)
    together, alone, finer = (it[0] for it in seen)
    assert torch.allclose(together, alone, atol=1e-4)
    assert (together - finer).abs().max() > 0.1


def test_every_joint_is_refined_from_the_same_incoming_pose():
    persons = people(torch.zeros(4, SIZE, SIZE, 3, dtype=torch.uint8))
    pose, rows, sides = poses(4), torch.arange(4), torch.full((4,), 20.0)
    shoulder, hip = LSP.diameter_indices
    network = (Constant([0.5, 0.5]), 0)
    one_by_one = [refine_joints({j: network}, persons, rows, pose, sides, 20.0)[:, j] for j in (shoulder, hip)]
    together = refine_joints({shoulder: network, hip: network}, persons, rows, pose, sides, 20.0)
    assert torch.equal(torch.stack(one_by_one, 1), together[:, [shoulder, hip]])
    others = [j for j in range(14) if j not in (shoulder, hip)]
    assert torch.equal(together[:, others], pose[:, others])
    assert not torch.equal(together[:, shoulder], pose[:, shoulder])  # and the incoming pose is not written over


def test_a_mirrored_window_has_the_errors_of_the_joint_that_it_trains():
    data, residuals = cascade_data([0, 0], poses(40), poses(40, seed=1)), np.zeros((1, 14, 2), np.float32)
    residuals[0, R_KNEE], residuals[0, L_KNEE] = (0.3, -0.2), (-0.1, 0.4)
    model = ErrorModel(residuals, residuals[0], np.zeros((14, 2, 2)), 0.01, False, "", "", "", "", False)
    data.sampler = ErrorSampler(model, "residuals", "cpu")
    for flip in (0.0, 1.0):
        assert torch.allclose(draw(data, R_KNEE, flip=flip)[1][:, 0], torch.tensor([-0.15, 0.1]).expand(40, 2),
                              atol=1e-5)


def test_a_shared_network_learns_of_a_window_only_the_joint_that_it_stands_round():
    _, target, _ = draw(cascade_data([0.3, -0.2], poses(20), poses(20, seed=1)), NECK, shared_network=True)
    assert target.shape == (20, 14, 2)
    assert torch.equal(target.isnan().all(-1), (torch.arange(14) != NECK).expand(20, 14))
    assert torch.allclose(target[:, NECK], torch.tensor([-0.15, 0.1]).expand(20, 2), atol=1e-5)


def test_nobody_held_out_is_learnt_from_and_oversampled_persons_come_several_times():
    """Of four persons the second is held out, and of the last nothing is annotated."""
    annotated = torch.ones(4, 14, dtype=torch.bool)
    annotated[3] = False
    given = SimpleNamespace(
        annotated=annotated, held_out=torch.tensor([False, True, False, False]), device=torch.device("cpu"),
        mirror=torch.tensor(LSP.mirror),
        persons=SimpleNamespace(sources=np.array(["lsp", "lsp", "lspet", "lsp"]), skeleton=LSP)), \
        SimpleNamespace(oversample=("lsp=2",), flip=0.5)
    assert train_stage2.PoseLearner("shared", *given).rows().tolist() == [0, 0, 2]
    assert train_stage2.JointLearner("neck", *given).rows().tolist() == [[0, NECK]] * 2 + [[2, NECK]]


def test_networks_refine_without_dropout():
    network = Constant([0.0, 0.0]).train()
    refine_joints({3: (network, 0)}, people(torch.zeros(1, 96, 96, 3, dtype=torch.uint8)), torch.tensor([0]),
                  torch.full((1, 14, 2), 40.0), torch.tensor([10.0]), 10.0)
    assert not network.training


def test_windows_are_alike_in_training_and_at_test(tmp_path, monkeypatch):
    found, deltas, seen = poses(20, seed=1), np.zeros((14, 40, 2), np.float32), []
    found[0] = 50.0  # all joints in one place: the floor counts
    persons = people(torch.zeros(20, SIZE, SIZE, 3, dtype=torch.uint8), poses(20))
    persons.held_out = np.arange(20) >= 10
    model = fit_error_model(found[10:].numpy(), persons.truth[10:], np.ones(10), LSP.joints, smallest_diameter=0.2,
                            flip_test=False, fingerprint="abc", labels=persons.labels,
                            poses=arrays.digest(found.numpy()), deltas=arrays.digest(deltas))
    for name, array in (("train_output", found.numpy()), ("deltas", deltas)):
        arrays.save(tmp_path / f"{name}.npy", array, name)
    model.save(tmp_path / "error_model.npz")
    shared = (0.2, 0.5, False, "", "", RGB)
    monkeypatch.setattr("networks.trained_stages.refine_joints", lambda networks, persons, rows, joints, sides, *more:
                        seen.append(sides) or joints)
    data = CascadeData(persons, tmp_path, 2, 1.5, "residuals")
    CascadeStage({}, 1.5, *shared).refine_with_confidence(persons, torch.arange(20), data.poses_px, None)
    assert torch.allclose(seen[0], data.sides) and data.sides[0] == pytest.approx(1.5 * 0.2 * persons.box_side)
    again = PoseData(persons, tmp_path, 2, 1.25, True, 0.3)
    stage = PoseStage({}, 1.25, *shared, upright=True, agreement=0.3, input_size=32, still=False)
    windows, reach = stage.windows(again.poses_px, LSP, persons.box_side)
    assert torch.allclose(windows, make_windows(*again.squares(again.poses_px)), atol=1e-4)
    assert torch.allclose(reach, again.reach) and again.reach[0] == pytest.approx(0.3 * 0.2 * persons.box_side)


def test_without_mirroring_only_the_joint_itself_is_learnt_from():
    truth = poses(40)
    truth[:20, R_KNEE] = torch.nan
    data, targets = cascade_data([0, 0], truth, poses(40, seed=1)), torch.tensor([R_KNEE])
    learner = train_stage2.JointLearner("r_knee", data, SimpleNamespace(oversample=(), flip=0.0))
    assert len(train_stage2.training_pairs(data, targets)) == 40
    data.persons.sources = np.full(40, "lsp")
    assert learner.rows()[:, 0].tolist() == list(range(20, 40))


class Brightest(torch.nn.Module):
    """Finds the centre of light in the window: a stage-1 network whose right answer is known."""

    def forward(self, images):
        light = images.sum(1) - images.sum(1).amin((1, 2), keepdim=True)
        side = images.shape[-1]
        ticks = (torch.arange(side) + 0.5) / side - 0.5
        total = light.sum((1, 2))
        place = torch.stack([(light.sum(1) * ticks).sum(1), (light.sum(2) * ticks).sum(1)], 1) / total[:, None]
        return place[:, None].expand(-1, 14, 2)

    def joints(self, output):
        return output, None

    mirrored = ResNetRegressor.mirrored


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("flip_test", [False, True])
def test_predictions_come_back_in_crop_pixels(flip_test, streamed):
    centres = torch.rand(7, 2, generator=torch.Generator().manual_seed(3)) * 30 + 33
    ticks = torch.arange(SIZE, dtype=torch.float32)
    squared = (ticks[None, :, None] - centres[:, 1, None, None]) ** 2 + (ticks - centres[:, 0, None, None]) ** 2
    crops = (255 * torch.exp(-squared / 18)).round().to(torch.uint8)[..., None].repeat(1, 1, 1, 3)
    rows = torch.tensor([3, 1, 6, 0])
    found, _ = predict_with_confidence(Brightest(), people(crops, streamed=streamed), rows, 64, batch_size=3,
                                       flip_test=flip_test)
    assert found.shape == (4, 14, 2)
    assert (found - centres[rows][:, None]).norm(dim=-1).max() < 0.1
