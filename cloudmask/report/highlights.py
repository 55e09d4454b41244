"""The most telling scenes: few enough to look at, chosen by a rule that the page states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cloudmask.report.sentences import title_of
from cloudmask.text import is_number, percent

MOST = 3


def accuracy(scene: Mapping[str, Any], reference: str | None) -> float | None:
    """The share of a scene's pixels that agree with a reference; None where it has none."""
    found = ((scene.get("against") or {}).get(reference or "") or {}).get("accuracy")
    return found if is_number(found) else None


def worst_first(scenes: Sequence[Mapping[str, Any]], reference: str | None) -> list[Any]:
    """By accuracy against the reference; those without a figure last, else by name."""

    def key(scene: Mapping[str, Any]) -> tuple[bool, float, str]:
        found = accuracy(scene, reference)
        return found is None, found or 0.0, str(scene.get("name"))

    return sorted(scenes, key=key)


def choose(
    evaluation: Mapping[str, Any], ordered: Sequence[Mapping[str, Any]], reference: str | None
) -> dict[int, str]:
    """Scenes, worst first -> the places, from 1, of the telling ones, and why each is shown."""
    known = [n for n, one in enumerate(ordered, 1) if accuracy(one, reference) is not None]
    if not known:
        first = range(1, min(MOST, len(ordered)) + 1)
        return dict.fromkeys(first, "No figure to choose by: shown in order of name")
    if len(ordered) == 1:
        return {1: "The only scene"}
    agreed = {n: accuracy(one, "label") for n, one in enumerate(ordered, 1)}
    differ = {place: 1 - share for place, share in agreed.items() if share is not None}
    reasons = {known[0]: "The worst scene"}
    if differ and reference != "label":
        place = max(differ, key=lambda one: differ[one])
        share = f"on {percent(differ[place])} of the pixels"
        most = f"etwork and {title_of(evaluation, 'label')} differ most here"
        worst = reasons.get(place)
        reasons[place] = f"{worst}; n{most} too, {share}" if worst else f"N{most}, {share}"
    if len(known) > 2:
        reasons.setdefault(known[(len(known) - 1) // 2], "The middle scene")
    reasons.setdefault(known[-1], "The best scene")
    return dict(list(reasons.items())[:MOST])


def rule(evaluation: Mapping[str, Any], reference: str | None) -> str:
    """How they are chosen."""
    most = f" the one where network and {title_of(evaluation, 'label')} differ most,"
    return (
        f"Chosen by rule: the worst scene,{most if reference != 'label' else ''} the middle one by "
        f"accuracy, and the best one if these are fewer than {MOST}."
    )
