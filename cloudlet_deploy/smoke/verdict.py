"""Whether a campaign holds what the site demands, and what it says in one sentence. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cloudlet_deploy.errors import ExitCode
from cloudlet_deploy.smoke.analysis import Analysis, Curve, PointResult
from cloudlet_deploy.smoke.fits import Shape, Usl
from cloudlet_deploy.smoke.types import Kind, Recovery
from cloudlet_deploy.smoke.words import count, duration, hertz, share

#: Clients are borne within this share of errors where the site names none.
USUAL_ERROR_SHARE = 0.01
#: A law that is further off its points on average is told to be loose.
LOOSE = 0.1
_BOUND = " The load hosts were the bottleneck: the door may carry more."


@dataclass(frozen=True)
class Finding:
    """One demand: what was wanted and got, in words with units, and whether it held."""

    name: str
    wanted: str
    got: str
    held: bool
    #: Where that was, or why it did not hold; a sentence, or "".
    words: str = ""


@dataclass(frozen=True)
class Verdict:
    """What a campaign comes to."""

    #: What the door carries, in one sentence; and what came of the overload, or "".
    carries: str
    recovery: str
    findings: tuple[Finding, ...]

    @property
    def held(self) -> bool:
        """Whether all that was demanded holds."""
        return all(one.held for one in self.findings)

    @property
    def exit_code(self) -> ExitCode:
        """0 if all holds, else 5."""
        return ExitCode.DONE if self.held else ExitCode.CHECK_FAILED


def judge(analysis: Analysis) -> Verdict:
    """The verdict by the campaign's own thresholds.

    Three demands need no threshold: that the campaign is whole, that something was served, and
    that a door which was overloaded serves again.
    """
    listings = analysis.of(Kind.LS)
    return Verdict(
        carries=carries(analysis),
        recovery=recovered(analysis.campaign.recovery),
        findings=(*_always(analysis), *_demanded(analysis, listings)),
    )


def _always(analysis: Analysis) -> Iterable[Finding]:
    campaign = analysis.campaign
    broken = [one for one in analysis.points if one.measured.incomplete]
    if campaign.incomplete or broken:
        why = campaign.incomplete or broken[0].measured.incomplete
        said = f"{why[:1].upper()}{why[1:]}".rstrip(".")
        yield Finding("whole", "all points, whole", "incomplete", False, f"{said}.")
    elif not campaign.points:
        yield Finding("whole", "all points, whole", "no point", False, "Nothing was measured.")
    normal = [one for one in analysis.points if not one.point.overload]
    if normal and not any(one.measured.successes for one in normal):
        yield Finding("served", "an answer", "none", False, "No operation succeeded at any point.")


def _demanded(analysis: Analysis, listings: tuple[PointResult, ...]) -> Iterable[Finding]:
    wanted = analysis.campaign.thresholds
    if wanted.least_rate is not None:
        yield _least_rate(analysis, wanted.least_rate)
    if wanted.worst_p95 is not None:
        yield _worst_p95(listings, wanted.worst_p95)
    if wanted.error_share is not None:
        yield _error_share(listings, wanted.error_share)
    if wanted.least_clients is not None:
        yield _least_clients(analysis, wanted.least_clients)
    yield from _recovery(analysis.campaign.recovery, wanted.recovery)


def _least_rate(analysis: Analysis, wanted: float) -> Finding:
    name, asked = "rate", f"at least {hertz(wanted)}"
    best = analysis.best()
    if best is None:
        return Finding(name, asked, "no data", False, "No SRM listing succeeded.")
    held = best.rate >= wanted
    caution = _BOUND if best.generator_bound and not held else ""
    words = f"Best at {label(best)}.{_spread(best)}{caution}"
    return Finding(name, asked, hertz(best.rate), held, words)


def _spread(one: PointResult) -> str:
    estimate = one.rate_estimate
    return f" Known to ±{hertz(estimate.half)}." if estimate is not None else ""


def _worst_p95(listings: tuple[PointResult, ...], wanted: float) -> Finding:
    name, asked = "p95", f"at most {duration(wanted)}"
    silent = [one for one in listings if one.times is None]
    if not listings or silent:
        where = f"No listing succeeded at {label(silent[0])}." if silent else "No SRM listing."
        return Finding(name, asked, "no data", False, where)
    known = [(one.times.p95, one) for one in listings if one.times]
    value, worst = max(known, key=lambda item: item[0])
    return Finding(name, asked, duration(value), value <= wanted, f"Longest at {label(worst)}.")


def _error_share(listings: tuple[PointResult, ...], wanted: float) -> Finding:
    name, asked = "errors", f"at most {share(wanted)} of a point"
    silent = [one for one in listings if not one.measured.successes and not one.failures]
    if not listings or silent:
        where = f"No listing ended at {label(silent[0])}." if silent else "No SRM listing."
        return Finding(name, asked, "no data", False, where)
    worst = max(listings, key=lambda one: one.error_share)
    words = "No operation failed at any point."
    if worst.error_share:
        most, number = next(iter(worst.failures.items()))
        words = f"Most at {label(worst)}: {count(number)} {most}."
    return Finding(name, asked, share(worst.error_share), worst.error_share <= wanted, words)


def _least_clients(analysis: Analysis, wanted: int) -> Finding:
    name, asked = "clients", f"at least {count(wanted)}"
    allowed = _allowed(analysis)
    curve = small_directory(analysis)
    if curve is None:
        return Finding(name, asked, "no data", False, "No SRM listing was measured.")
    on = f"Within {share(allowed)} errors, listing {count(curve.entries)} entries."
    borne = most_borne(curve, allowed)
    if borne is None:
        return Finding(name, asked, "none", False, f"{on} No number of clients was borne.")
    got = min(borne.offered, borne.achieved)
    most = max(one.offered for one in curve.points)
    untried = f" No more than {count(most)} were tried." if got < wanted and most < wanted else ""
    return Finding(name, asked, count(got), got >= wanted, on + untried)


def _recovery(seen: Recovery | None, wanted: float | None) -> Iterable[Finding]:
    name = "recovery"
    asked = "serves again" if wanted is None else f"within {duration(wanted)}"
    if seen is None:
        if wanted is not None:
            yield Finding(name, asked, "no data", False, "No overload was tried.")
    elif seen.seconds is None:
        yield Finding(name, asked, "hung", False, recovered(seen))
    elif wanted is not None:
        yield Finding(name, asked, duration(seen.seconds), seen.seconds <= wanted)


def recovered(seen: Recovery | None) -> str:
    """What came of the overload, as a sentence; "" if there was none."""
    if seen is None:
        return ""
    if seen.seconds is not None:
        return f"After the overload it served again within {duration(seen.seconds)}: recovered."
    last = f" Last: {seen.last}." if seen.last else ""
    return (
        f"After the overload it did not serve again within {duration(seen.patience)} "
        f"({count(seen.attempts)} attempts): hung.{last} Restart the door."
    )


def label(one: PointResult) -> str:
    """A point in words: ``500 clients, 10 entries``."""
    return point_label(one.point.kind, one.offered, one.point.entries)


def point_label(kind: Kind, clients: int, entries: int) -> str:
    """A point in words, with its protocol where that is not SRM's listing."""
    what = {Kind.PING: "ping", Kind.MLSC: f"{count(entries)} entries by GridFTP"}
    return f"{count(clients)} clients, {what.get(kind, f'{count(entries)} entries')}"


def small_directory(analysis: Analysis) -> Curve | None:
    """The curve that says how many clients are borne: SRM, smallest directory, as in the paper."""
    curves = [one for one in analysis.curves if one.kind is Kind.LS and _normal(one)]
    return min(curves, key=lambda one: (one.entries, -len(one.points)), default=None)


def _normal(curve: Curve) -> list[PointResult]:
    return [one for one in curve.points if not one.point.overload]


def most_borne(curve: Curve, allowed: float) -> PointResult | None:
    """The point of the most clients up to which every point kept to the allowed error share."""
    borne = None
    for one in _normal(curve):
        if one.error_share > allowed or not one.measured.successes or one.measured.incomplete:
            break
        borne = one
    return borne


def _allowed(analysis: Analysis) -> float:
    allowed = analysis.campaign.thresholds.error_share
    return USUAL_ERROR_SHARE if allowed is None else allowed


def carries(analysis: Analysis) -> str:
    """What the door carries, in one or two plain sentences."""
    curve, allowed = small_directory(analysis), _allowed(analysis)
    if curve is None:
        return "How many listings the door carries was not measured."
    borne = most_borne(curve, allowed)
    if borne is None or borne.times is None:
        fewest = _normal(curve)[0]
        return (
            f"The door does not carry {count(fewest.offered)} clients: "
            f"{share(fewest.error_share)} of their listings failed."
            if fewest.failures
            else f"The door does not carry {count(fewest.offered)} clients: no listing succeeded."
        )
    errors = "no errors" if not borne.error_share else f"{share(borne.error_share)} errors"
    return (
        f"The door carries {count(min(borne.offered, borne.achieved))} clients that list "
        f"{count(curve.entries)} entries each: {hertz(borne.rate)}, half answered within "
        f"{duration(borne.times.p50)}, 95 % within {duration(borne.times.p95)}, {errors}. "
        f"{bend(curve)}"
    )


def bend(curve: Curve) -> str:
    """What the curve of rate against clients does, as one or more sentences."""
    fit, most = curve.fit, max(one.achieved for one in curve.points)
    best = max(_normal(curve) or curve.points, key=lambda one: one.rate)
    measured = f"{hertz(best.rate)} with {count(best.achieved)} clients"
    if not isinstance(fit, Usl):
        return f"Where its rate bends cannot be told ({fit.reason}); the best was {measured}."
    words = {
        Shape.RISES: f"Its rate rises nearly in proportion up to {count(fit.most)} clients.",
        Shape.FLATTENS: f"Its rate flattens; no knee was seen up to {count(fit.most)} clients.",
        Shape.LEVEL: f"Its rate is level from {count(fit.least)} clients on: it is at its limit.",
        Shape.FALLS: f"Its rate falls from {count(fit.least)} clients on.",
    }
    if fit.knee is None or fit.peak is None:
        said = words[fit.shape]
        if most > fit.most:
            said += f" The law is not fitted to what came beyond, up to {count(most)}."
    else:
        low = count(round(fit.knee_low or 0))
        high = count(round(fit.knee_high)) if fit.knee_high is not None else "more"
        said = (
            f"Its rate is greatest near {count(round(fit.knee))} clients (between {low} and "
            f"{high}, {hertz(fit.peak)} by the fitted law; measured: {measured})."
        )
    if fit.residual > LOOSE:
        said += f" The law fits only loosely, {share(fit.residual)} off the points on average."
    if curve.bound:
        said += " Load hosts were the bottleneck at some points, so this may be theirs."
    return said
