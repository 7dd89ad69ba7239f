"""Variants of a study: its methods under other settings, each under a label of its own."""

from typing import Any

from portal.config import Frozen
from portal.messages import nearest
from portal.methods import find_method
from sweeps.study.study_file import MethodSettings, StudyFile, Variant, kind_of, needed_label


def with_variants(settings: StudyFile) -> StudyFile:
    """The same study with every variant of a method written out as a method, and none left.

    A method that no variant is for stays as it is. A varied port starts from the variant of its source, or
    from the source itself where that is not varied. ValueError for an unknown method.
    """
    if not settings.variants:
        return settings
    trained = [
        label for label, method in settings.methods.items() if find_method(kind_of(label, method)).trains
    ]
    varied: dict[str, list[str]] = {}
    for name, variant in settings.variants.items():
        for label in variant.methods or trained:
            if label not in trained:
                raise ValueError(
                    f"variants.{name}.methods: no method {label!r} that trains{nearest(label, trained)}"
                )
            varied.setdefault(label, []).append(name)
    methods: dict[str, MethodSettings] = {}
    for label, method in settings.methods.items():
        if label not in varied:
            methods[label] = method
            continue
        for name in varied[label]:
            own = _varied(label, method, settings.variants[name])
            if find_method(kind_of(label, method)).parents:
                source = needed_label(settings, label)
                own = own.model_copy(
                    update={"source": _label(source, name) if name in varied.get(source, ()) else source}
                )
            methods[_label(label, name)] = own
    return settings.model_copy(update={"methods": methods, "variants": {}})


def _varied(label: str, method: MethodSettings, variant: Variant) -> MethodSettings:
    kind = kind_of(label, method)
    changes: dict[str, Any] = {"method": kind}
    for part in ("size", "adapter", "hypernet", "train", "calibrate"):
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
