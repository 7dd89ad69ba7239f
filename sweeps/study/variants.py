"""Variants of a study: its methods under other settings, each under a label of its own."""

from collections.abc import Mapping, Sequence
from typing import Any

from portal.frozen import Frozen
from portal.messages import nearest
from portal.methods import find_method, stage_of_method
from sweeps.study.study_file import (
    MethodSettings,
    StudyFile,
    Variant,
    kind_of,
    latents_label,
    needed_label,
    parent_labels,
)


def with_variants(settings: StudyFile) -> StudyFile:
    """The same study with every variant of a method written out as a method, and none left.

    A method that no variant is for stays as it is. A varied port starts from the variant of its source, or
    from the source itself where that is not varied. What trains nothing is there in every variant of what it
    starts from, unless it names one of them. ValueError for an unknown method.
    """
    if not settings.variants:
        return settings
    kinds = {label: find_method(kind_of(label, method)) for label, method in settings.methods.items()}
    trained = [label for label, spec in kinds.items() if spec.trains]
    varied: dict[str, list[str]] = {}
    for name, variant in settings.variants.items():
        for label in variant.methods or trained:
            if label not in trained:
                raise ValueError(
                    f"variants.{name}.methods: no method {label!r} that trains{nearest(label, trained)}"
                )
            varied.setdefault(label, []).append(name)
    made = {_label(label, name) for label, names in varied.items() for name in names}
    for label in sorted(kinds, key=lambda label: stage_of_method(kinds[label].name)):
        method = settings.methods[label]
        names_one = bool({method.source, method.latents} & made)  # a single variant, as it will be called
        if not kinds[label].trains and kinds[label].parents and not names_one:
            parents = parent_labels(settings, label)
            if names := [n for n in settings.variants if any(n in varied.get(p, ()) for p in parents)]:
                varied[label] = names
                made |= {_label(label, name) for name in names}
    methods: dict[str, MethodSettings] = {}
    for label, method in settings.methods.items():
        if label not in varied:
            methods[label] = method
            continue
        for name in varied[label]:
            own = _varied(label, method, settings.variants[name])
            changes: dict[str, str] = {}
            if kinds[label].parents:
                changes["source"] = _in_variant(needed_label(settings, label), name, varied)
            if kinds[label].latents_of:
                changes["latents"] = _in_variant(latents_label(settings, label), name, varied)
            methods[_label(label, name)] = own.model_copy(update=changes)
    return settings.model_copy(update={"methods": methods, "variants": {}})


def _in_variant(parent: str, name: str, varied: Mapping[str, Sequence[str]]) -> str:
    """The label of the parent in that variant, or the parent itself where it is not varied."""
    return _label(parent, name) if name in varied.get(parent, ()) else parent


def _varied(label: str, method: MethodSettings, variant: Variant) -> MethodSettings:
    kind = kind_of(label, method)
    changes: dict[str, Any] = {"method": kind}
    for part in ("size", "adapter", "hypernet", "train", "text", "tasks", "calibrate"):
        if part in variant.model_fields_set and part in find_method(kind).settings:
            changes[part] = _merged(getattr(method, part), getattr(variant, part))
    return MethodSettings.model_validate({**method.model_dump(exclude_unset=True), **changes})


def _merged(own: Any, other: Any) -> Any:
    """Keys of `other` over those of `own`; what neither sets stays open for the recipe."""
    if not isinstance(other, Frozen):
        return other
    values = own.model_dump(exclude_unset=True) if isinstance(own, Frozen) else {}
    given = other.model_dump(exclude_unset=True)
    if "rank" in given and "alpha" not in given:
        values.pop("alpha", None)  # it follows the rank
    return values | given


def _label(label: str, variant: str) -> str:
    return f"{label}-{variant}"
