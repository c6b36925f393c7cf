"""From a network's own confidence to a calibrated probability: of the joints given 80%, 80 in 100 are right.

A joint is right where it lies within TOLERANCE reference lengths of the truth: torso diameters, of a skeleton without
one half boxes (`metrics.reference_lengths`). The log-odds of that are a sum of few terms, each of which can only raise
them, so that what a network is surer of never counts less, also far from the persons it was fitted on:

    own    log-odds of the network's own confidence
    above  what of them lies above a bend: the line may rise more steeply there
    mean   of the pose's joints: a hard pose is hard for every joint
    least  of the pose's joints
    size   logarithm of the pose's own reference length, in boxes: the larger it is, the more is tolerated

Which of them count, and whether every joint has an intercept of its own, is chosen by cross-validation over persons.
Where those are part of a larger set, all but the line is learnt from the rest of it.
Source: Platt, Probabilistic outputs for support vector machines, 1999; of it, the first term and a common intercept.
"""
import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch

TOLERANCE = 0.2               # reference lengths
MEANING = "probability that the joint lies within {}"
SUREST = 0.001                # a network's own confidence counts as no nearer to 0 or 1
SMALLEST = 0.05               # box sides: a pose's reference length counts as no shorter
BEND = 0.25                   # quantile of the own log-odds at which the line may bend
CHOICES = {"bent": ("above",), "by joint": (), "with the pose": ("mean", "least"), "with its size": ("size",)}
TERMS = ("own", "above", "mean", "least", "size")
LINE = TERMS[:2]
RIDGE, JOINT_RIDGE = 0.3, 3.0  # weights of the squares of slopes, terms of deviation 1, and of joints' own intercepts
STEPS = 50                    # of Newton's method, at most
FOLDS, REPEATS = 10, 3        # of the cross-validation
MOST = 500                    # persons of the cross-validation; the fit takes all


@dataclass(frozen=True)
class Calibration:
    """fingerprint  of the stages whose poses it is about
    flip_test    whether stage 1 averaged with the mirrored window
    intercepts   of each joint, log-odds
    slopes       term -> slope, at least 0
    bend         own log-odds where "above" begins
    sources      parts of the data whose persons it was fitted on
    persons      how many
    """
    fingerprint: str
    flip_test: bool
    intercepts: tuple
    slopes: dict
    bend: float
    sources: tuple
    persons: int

    def probabilities(self, own, lengths):
        """Probability that each joint is right.

        own      (N, J) the network's own confidence, 0 ... 1
        lengths  (N,) reference lengths of the poses themselves, box sides; above 0
        Returns  (N, J), own's type
        """
        log_odds = own.new_tensor(self.intercepts)
        for name, value in terms(own, lengths, self.bend, self.slopes).items():
            log_odds = log_odds + self.slopes[name] * value
        return log_odds.sigmoid()

    def plain(self):
        """As a dictionary of numbers, texts and lists, for checkpoints; `calibrations_of` reads it."""
        return {"fingerprint": self.fingerprint, "flip_test": self.flip_test, "intercepts": list(self.intercepts),
                "slopes": dict(self.slopes), "bend": self.bend, "sources": list(self.sources), "persons": self.persons}


def meaning(skeleton):
    """What a calibrated confidence is, in words."""
    return MEANING.format(f"{TOLERANCE} torso diameters of the truth" if skeleton.diameter else
                          f"{TOLERANCE / 2} of the box's side of the truth")


def calibrations_of(content, joints):
    """Calibrations of J joints from a list of what `plain` made. Raises ValueError, in words, where it is none."""
    def numbers(values, low):
        return all(type(value) in (int, float) and low <= value < math.inf for value in values)

    kinds = {"fingerprint": str, "flip_test": bool, "intercepts": list, "slopes": dict, "bend": float, "sources": list,
             "persons": int}
    found = []
    for each in content if isinstance(content, list) else [content]:
        if not isinstance(each, dict) or any(type(each.get(name)) is not kind for name, kind in kinds.items()):
            raise ValueError("its calibration is none")
        each = {name: each[name] for name in kinds}
        if len(each["intercepts"]) != joints or not numbers([*each["intercepts"], each["bend"]], -math.inf) \
                or not each["slopes"].keys() <= set(TERMS) or not numbers(each["slopes"].values(), 0):
            raise ValueError(f"its calibration is not one of {joints} joints, or not of numbers that make sense")
        found.append(Calibration(**each | {"intercepts": tuple(each["intercepts"]), "sources": tuple(each["sources"])}))
    return found


def terms(own, lengths, bend, wanted=TERMS):
    """Those of the terms that are wanted, name -> (N, J); arguments as in `Calibration.probabilities`."""
    own = own.clamp(SUREST, 1 - SUREST)
    own = (own / (1 - own)).log()  # as logit has it, which wakes all threads for a few hundred numbers
    of = {"own": lambda: own, "above": lambda: (own - bend).clamp(min=0),
          "mean": lambda: own.mean(1, keepdim=True).expand_as(own),
          "least": lambda: own.amin(1, keepdim=True).expand_as(own),
          "size": lambda: lengths.log()[:, None].expand_as(own)}
    return {name: of[name]() for name in TERMS if name in wanted}


def choose(own, lengths, hits, others=None, seed=0, progress=iter, groups=None):
    """Cross-validate every combination of CHOICES over persons.

    own, lengths  as in `Calibration.probabilities`, numpy
    hits          (N, J) 1 = right, 0 = wrong, NaN = does not count
    others        as in `fit`
    progress      what the work is passed through, e.g. a bar
    groups        (N,) of each person: who shares one, as neighbouring frames do, is held out together; None = nobody
    Returns       [(choices, log loss), ...], the best first: mean loss of held-out joints in nats; where all are of
                  one group [((), NaN)]
    Raises        ValueError, in words, where there is too little to fit
    """
    generator = np.random.default_rng(seed)
    counted = ~np.isnan(hits)
    rows = np.flatnonzero(counted.any(1))
    if len(rows) < FOLDS:
        raise ValueError(f"{len(rows)} persons are too few, at least {FOLDS} are needed")
    if len(np.unique(hits[counted])) < 2:
        raise ValueError(f"all of their joints are {'right' if hits[counted].all() else 'wrong'}")
    rows = generator.permutation(rows)[:MOST]
    groups = np.arange(len(hits)) if groups is None else groups
    if len(np.unique(groups[rows])) < 2:
        return [((), float("nan"))]
    folds = [folds_of(groups[rows], generator) for _ in range(REPEATS)]
    losses = {}
    for choices in progress([some for count in range(len(CHOICES) + 1)
                             for some in itertools.combinations(CHOICES, count)]):
        known = _known(choices, others)
        losses[choices] = float(np.mean([
            log_loss(_left_out(own[rows], lengths[rows], hits[rows], fold, choices, known), hits[rows])
            for fold in folds]))
    return sorted(losses.items(), key=lambda item: item[1])


def folds_of(groups, generator):
    """Each person's fold (N,), 0 ... FOLDS - 1, drawn by their groups (N,): who shares one shares it."""
    _, first, number = np.unique(groups, return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(first))  # numbered as they come
    return (generator.permutation(len(first)) % FOLDS)[place[number]]


def left_out(own, lengths, hits, fold, choices, others=None):
    """Probabilities (N, J) of each fold's persons by a fit on the others'. fold (N,): each one's, 0 ... FOLDS - 1."""
    return _left_out(own, lengths, hits, fold, choices, _known(choices, others))


def _left_out(own, lengths, hits, fold, choices, known):
    found = np.empty(own.shape)
    for number in np.unique(fold):
        out = fold == number
        found[out] = probabilities(_fit(own[~out], lengths[~out], hits[~out], choices, known), own[out], lengths[out])
    return found


def fit(own, lengths, hits, choices=tuple(CHOICES), others=None, **facts):
    """The calibration of largest likelihood, slopes at least 0, with a weak pull to small ones.

    own, lengths, hits  as in `choose`
    choices             of CHOICES
    others              the same three of persons who are not of the kind that the model is for, but more; None without
                        any. What a pose, its size and which joint it is tell beside the network's own confidence is
                        then taken from them, and only the line fitted on the few
    facts               further ones of the Calibration
    """
    return _fit(own, lengths, hits, choices, _known(choices, others), **facts)


def _known(choices, others):
    enough = others is not None and (~np.isnan(others[2])).any(1).sum() >= FOLDS and set(choices) - {"bent"}
    return _fit(*others, choices) if enough else None


def _fit(own, lengths, hits, choices, known=None, fingerprint="", flip_test=False, sources=()):
    """known: the Calibration that all but the line and its intercept are taken from; None = nothing is."""
    own, lengths, counted = (np.asarray(own, np.float64), np.asarray(lengths, np.float64), ~np.isnan(hits))
    joints, by_joint = own.shape[1], "by joint" in choices
    names = ["own", *(term for choice in choices for term in CHOICES[choice])]
    bend = float(np.quantile(_values(own, lengths, 0, ("own",))["own"][counted], BEND))
    values = {name: value[counted] for name, value in _values(own, lengths, bend, names).items()}  # (C,)
    joint = np.broadcast_to(np.arange(joints), own.shape)[counted]
    slopes, offsets, given = {}, np.zeros(joints), 0.0
    if known:
        slopes = {name: slope for name, slope in known.slopes.items() if name not in LINE}
        offsets = np.array(known.intercepts) - np.mean(known.intercepts)
        given = offsets[joint] + sum(slope * values[name] for name, slope in slopes.items())
    free = [name for name in values if name not in slopes]
    columns = np.stack([values[name] for name in free], 1)
    means, deviations = columns.mean(0), columns.std(0)
    deviations = np.where(deviations > 1e-9, deviations, 1.0)
    columns = np.column_stack([np.ones(len(columns)), (columns - means) / deviations])
    ridge, least = np.full(1 + len(free), RIDGE), np.zeros(1 + len(free))
    ridge[0], least[0] = 1e-6, -np.inf
    if by_joint and not known:
        columns = np.column_stack([columns, joint[:, None] == np.arange(joints)])
        ridge, least = (np.concatenate([some, np.full(joints, value)]) for some, value in
                        ((ridge, JOINT_RIDGE), (least, -np.inf)))
    weights = _largest_likelihood(columns, hits[counted], given, ridge, least)
    own_slopes = weights[1:1 + len(free)] / deviations
    if by_joint and not known:
        offsets = weights[1 + len(free):]
    slopes |= dict(zip(free, own_slopes.tolist()))
    intercepts = weights[0] - means @ own_slopes + offsets
    return Calibration(fingerprint, flip_test, tuple(intercepts.tolist()), slopes, bend, tuple(sources),
                       int(counted.any(1).sum()))


def _values(own, lengths, bend, wanted):
    """`terms` of numpy arrays."""
    found = terms(torch.from_numpy(own), torch.from_numpy(lengths), bend, wanted)
    return {name: value.numpy() for name, value in found.items()}


def probabilities(calibration, own, lengths):
    """`Calibration.probabilities` of numpy arrays, float64."""
    return calibration.probabilities(torch.from_numpy(np.asarray(own, np.float64)),
                                     torch.from_numpy(np.asarray(lengths, np.float64))).numpy()


def log_loss(found, hits):
    """Mean over counted joints of -log the probability given to what is so, nats."""
    counted = ~np.isnan(hits)
    return float(-np.log(np.where(hits == 1, found, 1 - found)[counted].clip(min=1e-12)).mean())


def _largest_likelihood(columns, hits, given, ridge, least):
    """Logistic regression with a weight's square times half its ridge, none below its least, by projected Newton steps
    (Bertsekas 1982): columns (C, K), hits (C,), ridge and least (K,); given (C,) or a number is added to the log-odds.
    Returns weights (K,)."""
    def loss(weights):
        return np.logaddexp(0, (1 - 2 * hits) * (given + columns @ weights)).sum() + (ridge * weights ** 2).sum() / 2

    weights = np.zeros(columns.shape[1])
    for _ in range(STEPS):
        found = np.exp(-np.logaddexp(0, -given - columns @ weights))
        slope = columns.T @ (found - hits) + ridge * weights
        free = (weights > least) | (slope < 0)
        bend = (columns[:, free].T * (found * (1 - found))) @ columns[:, free] + np.diag(ridge[free])
        step = np.zeros_like(weights)
        step[free] = np.linalg.solve(bend, slope[free])
        before, share = loss(weights), 1.0
        while loss(after := np.maximum(weights - share * step, least)) > before and share > 1e-6:
            share /= 2
        moved, weights = np.abs(after - weights).max(), after
        if moved < 1e-9:
            break
    return weights
