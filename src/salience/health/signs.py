"""Signs that a run is not well, one function each: a finding, or None.

Signs of collapse and of failure that any method may show; those that the method declares, by whatever it reports;
mistakes in the settings; and too little time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from salience.health.course import LATELY, Course, Finding, Limits
from salience.units import are, counted
from salience.warning_signs import Sign

# --- signs of collapse, for methods that compare items -------------------------------------------------------------


def alike(course: Course, limits: Limits) -> Finding | None:
    std, uniformity = course.start("std"), course.start("uniformity")
    lost = course.lately("std", lambda now: now < limits.collapsed_spread * std)
    if not (lost or course.lately("uniformity", lambda now: now > limits.collapsed_uniformity * uniformity)):
        return None
    why = f"the spread of the representation is {course.now('std'):.3g}, {std:.3g} at the start"
    return Finding("all items become alike", why, apart(course), "spread")


def point_or_line(course: Course, limits: Limits) -> Finding | None:
    start = course.start("effective_rank")
    if start < 2 * limits.collapsed_rank:
        return None
    if not course.lately("effective_rank", lambda now: now < limits.collapsed_rank):
        return None
    why = f"its effective rank is {course.now('effective_rank'):.2f}, {start:.1f} at the start"
    return Finding("the representation is a point or a line", why, apart(course), "rank")


def collapsed_loss(course: Course, limits: Limits) -> Finding | None:
    collapsed, start = course.about["collapsed_loss"], course.start("loss")
    scale = max(abs(collapsed), abs(start - collapsed))
    if not course.lately("loss", lambda now: abs(now - collapsed) < limits.collapsed_loss * scale):
        return None
    why = f"the loss is {course.now('loss'):.4g}, and {collapsed:.4g} when all items are alike"
    return Finding("the loss is that of a collapsed network", why, apart(course), "loss")


def apart(course: Course) -> str:
    """The remedy for items that become alike."""
    keeping = course.declared.keeps_items_apart
    return "lower --learning-rate" + (f", or look for what keeps items apart: {keeping}" if keeping else "")


COLLAPSE = (alike, point_or_line, collapsed_loss)

# --- signs of failure ----------------------------------------------------------------------------------------------


def narrowed(course: Course, limits: Limits) -> Finding | None:
    start = course.start("effective_rank")
    if not course.lately("effective_rank", lambda now: now < limits.rank * start):
        return None
    why = f"the effective rank is {course.now('effective_rank'):.1f}, {start:.1f} at the start"
    return Finding("few dimensions are left", why, apart(course), "rank")


def crowded(course: Course, limits: Limits) -> Finding | None:
    start = course.start("uniformity")
    if not course.lately("uniformity", lambda now: now > limits.uniformity * start):
        return None
    why = f"uniformity is {course.now('uniformity'):.2f}, {start:.2f} at the start (0: one point)"
    return Finding("items stand closer together than before", why, apart(course), "spread")


def strangers(course: Course, limits: Limits) -> Finding | None:
    start = course.start("pairs")
    if not course.lately("pairs", lambda now: now > limits.pairs * start):
        return None
    why = f"their distance is {course.now('pairs'):.2f} of that of two items, {start:.2f} at the start"
    return Finding("two views of an item come no closer", why, "other --views, or a higher --learning-rate", "pairs")


GEOMETRY = (narrowed, crowded, strangers, collapsed_loss)


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


def rebuilds_nothing(course: Course, limits: Limits) -> Finding | None:
    if not course.late("unexplained", lambda now: now > limits.mean, limits):
        return None
    why = f"their squared error is {course.now('unexplained'):.2f} of the variance around the mean item"
    less = course.declared.constrains_codes
    remedy = "change --learning-rate" + (f", or ask less of codes: {less}" if less else "")
    return Finding("items are rebuilt no better than by their mean", why, remedy, "loss")


REBUILDING = (rebuilds_nothing,)

# --- what the method declares --------------------------------------------------------------------------------------


def declared_signs(course: Course, limits: Limits, of: str) -> list[Finding]:
    """Of the signs that the method declares of a collapse, the representation or a generator; one of each kind."""
    found: dict[str, Finding] = {}
    for sign in course.declared.signs:
        if sign.of == of and speaks(sign, course, limits):
            why = sign.why.format(**course.latest)
            found.setdefault(sign.kind, Finding(sign.what, why, sign.change, sign.kind))
    return list(found.values())


def speaks(sign: Sign, course: Course, limits: Limits) -> bool:
    """Whether all values of a sign stay beyond its limit."""
    for name in sign.values:
        scale = course.start(name) if sign.of_start else 1.0

        def beyond(now: float, scale: float = scale) -> bool:
            below = sign.below is not None and now < sign.below * scale
            return below or (sign.above is not None and now > sign.above * scale)

        late = sign.of == "generator"
        if not (course.late(name, beyond, limits) if late else course.lately(name, beyond)):
            return False
    return True


def unusual_options(course: Course, options: Mapping[str, Any]) -> list[Finding]:
    """Options beyond the ordinary values that the method declares; one of each kind."""
    found: dict[str, Finding] = {}
    for ordinary in course.declared.ordinary:
        name = ordinary.option
        value = options.get(name)
        if value is None or (value != ordinary.off and ordinary.low <= value <= ordinary.high):
            continue
        kind = ordinary.kind or name
        if value == ordinary.off:
            finding = Finding(ordinary.what, f"{name} is {value:g}", ordinary.change, kind)
        else:
            change = f"take one between {ordinary.low:g} and {ordinary.high:g}"
            finding = Finding(f"{name} is out of the ordinary", f"it is {value:g}", change, kind)
        found.setdefault(kind, finding)
    return list(found.values())


# --- mistakes in the settings: one piece of evidence ---------------------------------------------------------------


def weak_views(course: Course, config: Mapping[str, Any], limits: Limits) -> Finding | None:
    distance = course.about.get("view_distance")
    if distance is None or distance > limits.views:
        return None
    why = f"two views of an item differ by {distance:.3f} of what two items do"
    return Finding("the views change next to nothing", why, "other --views; see them with: salience views", "views")


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


def mistakes_in(course: Course, config: Mapping[str, Any], limits: Limits) -> list[Finding]:
    """Mistakes in the settings, those of the method's own options after those in the views."""
    views, *others = (sign(course, config, limits) for sign in (weak_views, high_rate, small_batch))
    own = unusual_options(course, config.get("options", {}))
    return [found for found in (views, *own, *others) if found]


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
