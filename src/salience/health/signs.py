"""Signs that a run is not well, one function each: a finding, or None.

Signs of collapse and of failure, by kind of method; mistakes in the settings; and too little time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from salience.health.course import LATELY, Course, Finding, Limits
from salience.units import are, counted

# --- signs of collapse, for methods that compare items -------------------------------------------------------------


def alike(course: Course, limits: Limits) -> Finding | None:
    std, uniformity = course.start("std"), course.start("uniformity")
    lost = course.lately("std", lambda now: now < limits.collapsed_spread * std)
    if not (lost or course.lately("uniformity", lambda now: now > limits.collapsed_uniformity * uniformity)):
        return None
    why = f"the spread of the representation is {course.now('std'):.3g}, {std:.3g} at the start"
    return Finding("all items become alike", why, COLLAPSE_REMEDY, "spread")


def point_or_line(course: Course, limits: Limits) -> Finding | None:
    start = course.start("effective_rank")
    if start < 2 * limits.collapsed_rank:
        return None
    if not course.lately("effective_rank", lambda now: now < limits.collapsed_rank):
        return None
    why = f"its effective rank is {course.now('effective_rank'):.2f}, {start:.1f} at the start"
    return Finding("the representation is a point or a line", why, COLLAPSE_REMEDY, "rank")


def collapsed_loss(course: Course, limits: Limits) -> Finding | None:
    collapsed, start = course.about["collapsed_loss"], course.start("loss")
    scale = max(abs(collapsed), abs(start - collapsed))
    if not course.lately("loss", lambda now: abs(now - collapsed) < limits.collapsed_loss * scale):
        return None
    why = f"the loss is {course.now('loss'):.4g}, and {collapsed:.4g} when all items are alike"
    return Finding("the loss is that of a collapsed network", why, COLLAPSE_REMEDY, "loss")


COLLAPSE_REMEDY = "lower --learning-rate, or look for what keeps items apart: predictor, teacher, variance, temperature"
COLLAPSE = (alike, point_or_line, collapsed_loss)

# --- signs of collapse and failure in codes: they show only in methods that report them ----------------------------


def few_active_units(course: Course, limits: Limits) -> Finding | None:
    if not course.lately("active_units", lambda now: now < limits.active):
        return None
    why = f"{course.now('active_units'):.1%} of the code's dimensions vary from item to item"
    return Finding("most of the code is silent", why, POSTERIOR_REMEDY, "units")


def no_information(course: Course, limits: Limits) -> Finding | None:
    if not course.lately("kl", lambda now: now < limits.nats):
        return None
    why = f"the divergence from the prior is {course.now('kl'):.2g} nats"
    return Finding("the posterior has collapsed", why, POSTERIOR_REMEDY, "kl")


POSTERIOR_REMEDY = "a smaller --beta, a weaker decoder, or crvae, which keeps codes apart"
LATENT = (no_information, few_active_units)


def dead_units(course: Course, limits: Limits) -> Finding | None:
    if not course.lately("dead_units", lambda now: now > limits.dead):
        return None
    why = f"{course.now('dead_units'):.0%} of the code's units are never active"
    return Finding("most units are dead", why, "a smaller --weight, or a lower --learning-rate", "units")


def rebuilds_nothing(course: Course, limits: Limits) -> Finding | None:
    if not course.late("unexplained", lambda now: now > limits.mean, limits):
        return None
    why = f"their squared error is {course.now('unexplained'):.2f} of the variance around the mean item"
    return Finding("items are rebuilt no better than by their mean", why, REBUILDING_REMEDY, "loss")


REBUILDING_REMEDY = (
    "change --learning-rate; where the method asks something of codes, ask less: --weight, --beta, --level"
)
REBUILDING = (dead_units, rebuilds_nothing)


def discriminator_won(course: Course, limits: Limits) -> Finding | None:
    if not all(course.late(sign, lambda now: now > limits.won, limits) for sign in ("judged_real", "judged_fake")):
        return None
    why = f"it is right about {course.now('judged_real'):.0%} of real and {course.now('judged_fake'):.0%} of made items"
    return Finding("the discriminator has won", why, "a gradient --penalty, or a lower --learning-rate", "players")


def few_modes(course: Course, limits: Limits) -> Finding | None:
    if not course.late("sample_spread", lambda now: now < limits.modes, limits):
        return None
    why = f"generated items are {course.now('sample_spread'):.2f} times as far apart as real ones"
    return Finding("generated items are much alike", why, MODES_REMEDY, "sample spread")


def uncovered(course: Course, limits: Limits) -> Finding | None:
    if not course.late("coverage", lambda now: now < limits.coverage, limits):
        return None
    why = f"{course.now('coverage'):.0%} of real items have a generated one in their neighbourhood"
    return Finding("much of the data is never generated", why, MODES_REMEDY, "coverage")


def missing_classes(course: Course, limits: Limits) -> Finding | None:
    if not course.late("classes_made", lambda now: now < limits.classes, limits):
        return None
    why = f"{course.now('classes_made'):.0%} of the classes are covered half as well as the best one, or better"
    return Finding("some classes are hardly generated", why, MODES_REMEDY, "classes")


MODES_REMEDY = "a gradient --penalty, a larger --batch-size, or a lower --learning-rate"
PLAYERS = (discriminator_won, few_modes, uncovered, missing_classes)

# --- signs of failure ----------------------------------------------------------------------------------------------


def narrowed(course: Course, limits: Limits) -> Finding | None:
    start = course.start("effective_rank")
    if not course.lately("effective_rank", lambda now: now < limits.rank * start):
        return None
    why = f"the effective rank is {course.now('effective_rank'):.1f}, {start:.1f} at the start"
    return Finding("few dimensions are left", why, COLLAPSE_REMEDY, "rank")


def crowded(course: Course, limits: Limits) -> Finding | None:
    start = course.start("uniformity")
    if not course.lately("uniformity", lambda now: now > limits.uniformity * start):
        return None
    why = f"uniformity is {course.now('uniformity'):.2f}, {start:.2f} at the start (0: one point)"
    return Finding("items stand closer together than before", why, COLLAPSE_REMEDY, "spread")


def strangers(course: Course, limits: Limits) -> Finding | None:
    start = course.start("pairs")
    if not course.lately("pairs", lambda now: now > limits.pairs * start):
        return None
    why = f"their distance is {course.now('pairs'):.2f} of that of two items, {start:.2f} at the start"
    return Finding("two views of an item come no closer", why, "other --views, or a higher --learning-rate", "pairs")


def indifferent(course: Course, limits: Limits) -> Finding | None:
    """A teacher's outputs: one for all items, or all alike for each (entropies of DINO)."""
    together, each = course.values("entropy_of_mean"), course.values("mean_entropy")
    if len(together) <= LATELY or len(together) != len(each):
        return None
    lately = list(zip(together[-LATELY:], each[-LATELY:], strict=True))
    if all(mean < limits.one_output * together[0] for mean, _ in lately):
        what, remedy = "the teacher gives one answer to everything", "a smaller --centre-momentum"
    elif all(mean - single < limits.indifferent * mean for mean, single in lately):
        what, remedy = "the teacher finds all answers alike", "a smaller --teacher-temperature, or more --epochs"
    else:
        return None
    why = f"the entropy of its mean output is {together[-1]:.3g}, the mean entropy {each[-1]:.3g}"
    return Finding(what, why, remedy, "outputs")


def few_prototypes(course: Course, limits: Limits) -> Finding | None:
    if not course.lately("prototype_usage", lambda now: now < limits.prototypes):
        return None
    why = f"{course.now('prototype_usage'):.1%} of them, by the perplexity of the mean assignment"
    return Finding("few prototypes are in use", why, "lower --learning-rate, or fewer --prototypes", "outputs")


def left_behind(course: Course, limits: Limits) -> Finding | None:
    """A teacher is to be what the student was a while ago, not something else."""
    if not course.lately("teacher_distance", lambda now: now > limits.teacher):
        return None
    why = f"their weights differ by {course.now('teacher_distance'):.2f} of the student's length"
    return Finding("the student has left its teacher behind", why, "lower --learning-rate, or --momentum", "teacher")


GEOMETRY = (narrowed, crowded, strangers, collapsed_loss, indifferent, few_prototypes, left_behind)


def stuck_loss(course: Course, limits: Limits) -> Finding | None:
    start = course.start("loss")
    if not course.lately("loss", lambda now: now >= start - 0.01 * abs(start)):
        return None
    why = f"it is {course.now('loss'):.4g} on the probe, {start:.4g} at the start"
    return Finding("the loss does not fall", why, "change --learning-rate; a tenth of it first", "loss")


def poor_neighbours(course: Course, limits: Limits) -> Finding | None:
    """Labels, where there are any, find nothing learnt. A dip is forgiven while training is young."""
    least = course.baseline * (1 - limits.neighbours * (1 - course.share))
    if not course.lately("knn", lambda now: now < least):
        return None
    remedy = rate_and_views(course)
    return Finding("neighbours are no better than what costs nothing", neighbours_told(course), remedy, "knn")


def gradients(course: Course, limits: Limits) -> Finding | None:
    start = course.start("gradient")
    if course.lately("gradient", lambda now: now < limits.vanished * start):
        what = "gradients have vanished"
    elif course.lately("gradient", lambda now: now > limits.exploding * start):
        what = "gradients explode"
    else:
        return None
    why = f"their norm is {course.now('gradient'):.2g}, {start:.2g} at first"
    return Finding(what, why, "lower --learning-rate", "gradients")


def neighbours_told(course: Course) -> str:
    raw = f", raw input {course.about['raw_knn']:.3f}" if "raw_knn" in course.about else ""
    return f"kNN accuracy is {course.now('knn'):.3f}; untrained {course.start('knn'):.3f}{raw}"


def rate_and_views(course: Course) -> str:
    seen = "; see the views with: salience views" if "view_distance" in course.about else ""
    return f"change --learning-rate{seen}"


ANY_METHOD = (stuck_loss, poor_neighbours, gradients)

# --- mistakes in the settings: one piece of evidence ---------------------------------------------------------------


def weak_views(course: Course, config: Mapping[str, Any], limits: Limits) -> Finding | None:
    distance = course.about.get("view_distance")
    if distance is None or distance > limits.views:
        return None
    why = f"two views of an item differ by {distance:.3f} of what two items do"
    return Finding("the views change next to nothing", why, "other --views; see them with: salience views", "views")


def odd_temperature(course: Course, config: Mapping[str, Any], limits: Limits) -> Finding | None:
    low, high = limits.temperature
    for name, value in config.get("options", {}).items():
        if name.endswith("temperature") and not low <= value <= high:
            change = f"take one between {low:g} and {high:g}"
            return Finding(f"{name} is out of the ordinary", f"it is {value:g}", change, "temperature")
    return None


def frozen_teacher(course: Course, config: Mapping[str, Any], limits: Limits) -> Finding | None:
    if config.get("options", {}).get("momentum") != 1:
        return None
    return Finding("the teacher never moves", "momentum is 1", "give a --momentum below 1, such as 0.996", "teacher")


def high_rate(course: Course, config: Mapping[str, Any], limits: Limits) -> Finding | None:
    rate = config.get("learning_rate") or 0.0
    if rate < limits.learning_rate:
        return None
    return Finding("the learning rate is high", f"it is {rate:g}; 0.002 is usual", "lower --learning-rate", "rate")


def small_batch(course: Course, config: Mapping[str, Any], limits: Limits) -> Finding | None:
    size = course.about.get("batch_size", math.inf)
    if size >= limits.batch or not course.compares:
        return None
    return Finding(
        "the batch is small", f"{counted(size, 'item')} a step {are(size)} compared", "raise --batch-size", "batch"
    )


def idle_weight(course: Course, config: Mapping[str, Any], limits: Limits) -> Finding | None:
    off = [name for name in ("variance", "invariance", "redundancy") if config.get("options", {}).get(name) == 0]
    if not off:
        return None
    return Finding("a term of the loss is off", f"{off[0]} is 0", f"leave --{off[0]} at its default", "weights")


MISTAKES = (weak_views, odd_temperature, frozen_teacher, high_rate, small_batch, idle_weight)


def same_items(course: Course) -> Finding | None:
    """Nothing can be learnt, whatever else is well."""
    if not course.about.get("one_item"):
        return None
    why = "those that were looked at do not differ in a single value"
    return Finding(
        "all items of the data are the same", why, "give data that differ; see them with: salience data", "data"
    )


# --- time ----------------------------------------------------------------------------------------------------------


def under_trained(course: Course, limits: Limits, *, ill: bool) -> Finding | None:
    """At the end, neighbours are below what costs nothing, and a second sign says that training had not come to rest.

    ill: whether two signs of failure speak. If so, neighbours must have become better since, and not have lost much of
    what they had; if not, the loss must still fall: low neighbours alone are no verdict.
    """
    rises, falls = course.rises(limits), course.still_falls(limits)
    if not course.ends_below(course.baseline, limits) or not (rises if ill else falls):
        return None
    if ill and course.now("knn") < (1 - limits.ruined) * course.start("knn"):
        return None
    why = neighbours_told(course) + ("; the loss still falls" if falls else "")
    if rises:
        return Finding("training was too short", why, "more --epochs", "knn")
    return Finding("little was learnt", why, f"more --epochs, or {rate_and_views(course)}", "knn")


def too_few_steps(course: Course, limits: Limits) -> Finding | None:
    """In its first steps any run looks ill."""
    return None if course.steps >= limits.short else _short(course, "")


def hardly_begun(course: Course) -> Finding | None:
    """A training that has ended, or is looked at, before a sign could speak for or against it."""
    if len(course.probes) > LATELY:
        return None
    if course.share < 1:
        step = course.probes[-1]["step"] if course.probes else 0
        why = f"last looked at after {step:,} of {counted(course.steps, 'step')}, too few to tell whether it is well"
        return Finding("training has hardly begun", why, "let it train on; stopped, it goes on with --resume", "steps")
    return _short(course, ", too few to tell whether it is well")


def _short(course: Course, more: str) -> Finding:
    return Finding(
        "training was too short", f"it has {counted(course.steps, 'step')} in all{more}", "more --epochs", "steps"
    )
