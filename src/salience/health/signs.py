"""Signs that a run is not well, one function each: a finding, or None.

Signs of collapse and of failure that any method may show; those that the method declares, by whatever it reports;
mistakes in the settings; and too little time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from salience.health.trend import LATELY, Finding, Thresholds, Trend
from salience.units import are, counted
from salience.warning_signs import Sign

# --- signs of collapse, for methods that compare items -------------------------------------------------------------


def alike(trend: Trend, thresholds: Thresholds) -> Finding | None:
    std, uniformity = trend.start("std"), trend.start("uniformity")
    lost = trend.lately("std", lambda now: now < thresholds.collapsed_spread * std)
    if not (lost or trend.lately("uniformity", lambda now: now > thresholds.collapsed_uniformity * uniformity)):
        return None
    why = f"the spread of the representation is {trend.now('std'):.3g}, {std:.3g} at the start"
    return Finding("all items become alike", why, collapse_remedy(trend), "spread")


def point_or_line(trend: Trend, thresholds: Thresholds) -> Finding | None:
    start = trend.start("effective_rank")
    if start < 2 * thresholds.collapsed_rank:
        return None
    if not trend.lately("effective_rank", lambda now: now < thresholds.collapsed_rank):
        return None
    why = f"its effective rank is {trend.now('effective_rank'):.2f}, {start:.1f} at the start"
    return Finding("the representation has at most one dimension", why, collapse_remedy(trend), "rank")


def collapsed_loss(trend: Trend, thresholds: Thresholds) -> Finding | None:
    collapsed, start = trend.about["collapsed_loss"], trend.start("loss")
    scale = max(abs(collapsed), abs(start - collapsed))
    if not trend.lately("loss", lambda now: abs(now - collapsed) < thresholds.collapsed_loss * scale):
        return None
    why = f"the loss is {trend.now('loss'):.4g}, and {collapsed:.4g} when all items are alike"
    return Finding("the loss is that of a collapsed network", why, collapse_remedy(trend), "loss")


def collapse_remedy(trend: Trend) -> str:
    """The remedy for items that become alike."""
    keeping = trend.declared.keeps_items_apart
    return "lower --learning-rate" + (
        f", or check the part of the method that prevents collapse: {keeping}" if keeping else ""
    )


COLLAPSE = (alike, point_or_line, collapsed_loss)

# --- signs of failure ----------------------------------------------------------------------------------------------


def narrowed(trend: Trend, thresholds: Thresholds) -> Finding | None:
    start = trend.start("effective_rank")
    if not trend.lately("effective_rank", lambda now: now < thresholds.rank * start):
        return None
    why = f"the effective rank is {trend.now('effective_rank'):.1f}, {start:.1f} at the start"
    return Finding("few dimensions are left", why, collapse_remedy(trend), "rank")


def crowded(trend: Trend, thresholds: Thresholds) -> Finding | None:
    start = trend.start("uniformity")
    if not trend.lately("uniformity", lambda now: now > thresholds.uniformity * start):
        return None
    why = f"uniformity is {trend.now('uniformity'):.2f}, {start:.2f} at the start (0: one point)"
    return Finding("items stand closer together than before", why, collapse_remedy(trend), "spread")


def strangers(trend: Trend, thresholds: Thresholds) -> Finding | None:
    start = trend.start("pairs")
    if not trend.lately("pairs", lambda now: now > thresholds.pairs * start):
        return None
    why = f"their distance is {trend.now('pairs'):.2f} of that of two items, {start:.2f} at the start"
    return Finding(
        "two views of an item do not become more similar", why, "other --views, or a higher --learning-rate", "pairs"
    )


GEOMETRY = (narrowed, crowded, strangers, collapsed_loss)


def stuck_loss(trend: Trend, thresholds: Thresholds) -> Finding | None:
    start = trend.start("loss")
    if not trend.lately("loss", lambda now: now >= start - 0.01 * abs(start)):
        return None
    why = f"it is {trend.now('loss'):.4g} on the probe, {start:.4g} at the start"
    return Finding("the loss does not fall", why, "change --learning-rate, first to a tenth", "loss")


def poor_neighbours(trend: Trend, thresholds: Thresholds) -> Finding | None:
    """Labels, where there are any, find nothing learnt. A dip is forgiven while training is young."""
    least = trend.baseline * (1 - thresholds.neighbours * (1 - trend.share))
    if not trend.lately("knn", lambda now: now < least):
        return None
    remedy = rate_and_views(trend)
    return Finding("kNN is no better than raw input or an untrained encoder", describe_neighbours(trend), remedy, "knn")


def gradients(trend: Trend, thresholds: Thresholds) -> Finding | None:
    start = trend.start("gradient")
    if trend.lately("gradient", lambda now: now < thresholds.vanished * start):
        what = "gradients have vanished"
    elif trend.lately("gradient", lambda now: now > thresholds.exploding * start):
        what = "gradients explode"
    else:
        return None
    why = f"their norm is {trend.now('gradient'):.2g}, {start:.2g} at first"
    return Finding(what, why, "lower --learning-rate", "gradients")


def describe_neighbours(trend: Trend) -> str:
    raw = f", raw input {trend.about['raw_knn']:.3f}" if "raw_knn" in trend.about else ""
    return f"kNN accuracy is {trend.now('knn'):.3f}; untrained {trend.start('knn'):.3f}{raw}"


def rate_and_views(trend: Trend) -> str:
    seen = "; see the views with: salience views" if "view_distance" in trend.about else ""
    return f"change --learning-rate{seen}"


ANY_METHOD = (stuck_loss, poor_neighbours, gradients)


def rebuilds_nothing(trend: Trend, thresholds: Thresholds) -> Finding | None:
    if not trend.late("unexplained", lambda now: now > thresholds.mean, thresholds):
        return None
    why = f"their squared error is {trend.now('unexplained'):.2f} of the variance around the mean item"
    less = trend.declared.constrains_codes
    remedy = "change --learning-rate" + (f", or ask less of codes: {less}" if less else "")
    return Finding("reconstructions are no better than the mean item", why, remedy, "loss")


REBUILDING = (rebuilds_nothing,)

# --- what the method declares --------------------------------------------------------------------------------------


def declared_signs(trend: Trend, thresholds: Thresholds, of: str) -> list[Finding]:
    """Of the signs that the method declares of a collapse, the representation or a generator; one of each kind."""
    found: dict[str, Finding] = {}
    for sign in trend.declared.signs:
        if sign.of == of and speaks(sign, trend, thresholds):
            why = sign.why.format(**trend.latest)
            found.setdefault(sign.kind, Finding(sign.what, why, sign.change, sign.kind))
    return list(found.values())


def speaks(sign: Sign, trend: Trend, thresholds: Thresholds) -> bool:
    """Whether all values of a sign stay beyond its limit."""
    for name in sign.values:
        scale = trend.start(name) if sign.of_start else 1.0

        def beyond(now: float, scale: float = scale) -> bool:
            below = sign.below is not None and now < sign.below * scale
            return below or (sign.above is not None and now > sign.above * scale)

        late = sign.of == "generator"
        if not (trend.late(name, beyond, thresholds) if late else trend.lately(name, beyond)):
            return False
    return True


def unusual_options(trend: Trend, options: Mapping[str, Any]) -> list[Finding]:
    """Options beyond the ordinary values that the method declares; one of each kind."""
    found: dict[str, Finding] = {}
    for ordinary in trend.declared.ordinary:
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


def weak_views(trend: Trend, config: Mapping[str, Any], thresholds: Thresholds) -> Finding | None:
    distance = trend.about.get("view_distance")
    if distance is None or distance > thresholds.views:
        return None
    why = f"two views of an item differ by {distance:.3f} of what two items do"
    return Finding("the views hardly change the items", why, "other --views; see them with: salience views", "views")


def high_rate(trend: Trend, config: Mapping[str, Any], thresholds: Thresholds) -> Finding | None:
    rate = config.get("learning_rate") or 0.0
    if rate < thresholds.learning_rate:
        return None
    return Finding("the learning rate is high", f"it is {rate:g}; 0.002 is usual", "lower --learning-rate", "rate")


def small_batch(trend: Trend, config: Mapping[str, Any], thresholds: Thresholds) -> Finding | None:
    size = trend.about.get("batch_size", math.inf)
    if size >= thresholds.batch or not trend.compares:
        return None
    return Finding(
        "the batch is small", f"{counted(size, 'item')} a step {are(size)} compared", "raise --batch-size", "batch"
    )


def mistakes_in(trend: Trend, config: Mapping[str, Any], thresholds: Thresholds) -> list[Finding]:
    """Mistakes in the settings, those of the method's own options after those in the views."""
    views, *others = (sign(trend, config, thresholds) for sign in (weak_views, high_rate, small_batch))
    own = unusual_options(trend, config.get("options", {}))
    return [found for found in (views, *own, *others) if found]


def same_items(trend: Trend) -> Finding | None:
    """Nothing can be learnt, whatever else is well."""
    if not trend.about.get("one_item"):
        return None
    why = "the items that were checked are identical"
    return Finding(
        "all items of the data are the same", why, "give data that differ; see them with: salience data", "data"
    )


# --- time ----------------------------------------------------------------------------------------------------------


def under_trained(trend: Trend, thresholds: Thresholds, *, ill: bool) -> Finding | None:
    """At the end, neighbours are below what costs nothing, and a second sign says that training had not come to rest.

    ill: whether two signs of failure speak. If so, neighbours must have become better since, and not have lost much of
    what they had; if not, the loss must still fall: low neighbours alone are no verdict.
    """
    rises, falls = trend.rises(thresholds), trend.still_falls(thresholds)
    if not trend.ends_below(trend.baseline, thresholds) or not (rises if ill else falls):
        return None
    if ill and trend.now("knn") < (1 - thresholds.ruined) * trend.start("knn"):
        return None
    why = describe_neighbours(trend) + ("; the loss still falls" if falls else "")
    if rises:
        return Finding("training was too short", why, "more --epochs", "knn")
    return Finding("little was learnt", why, f"more --epochs, or {rate_and_views(trend)}", "knn")


def too_few_steps(trend: Trend, thresholds: Thresholds) -> Finding | None:
    """In its first steps any run looks ill."""
    return None if trend.steps >= thresholds.short else _short(trend, "")


def hardly_begun(trend: Trend) -> Finding | None:
    """A training that has ended, or is looked at, before a sign could speak for or against it."""
    if len(trend.probes) > LATELY:
        return None
    if trend.share < 1:
        step = trend.probes[-1]["step"] if trend.probes else 0
        why = f"last checked after {step:,} of {counted(trend.steps, 'step')}, too few for a verdict"
        return Finding(
            "training has hardly begun",
            why,
            "let the training continue; an interrupted one resumes with --resume",
            "steps",
        )
    return _short(trend, ", too few for a verdict")


def _short(trend: Trend, more: str) -> Finding:
    return Finding(
        "training was too short", f"it has {counted(trend.steps, 'step')} in all{more}", "more --epochs", "steps"
    )
