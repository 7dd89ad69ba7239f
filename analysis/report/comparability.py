"""Whether two studies can be put side by side, and in what they differ though they can."""

from analysis.stats.findings import Findings


def check_comparable(findings: tuple[Findings, Findings], names: tuple[str, str]) -> None:
    """ValueError where the studies share no task, or were scored on unlike rows or by unlike units."""
    first, second = findings[0].study, findings[1].study
    shared = sorted(set(first.eval_sets) & set(second.eval_sets))
    if not shared:
        raise ValueError(f"{names[0]} and {names[1]} have no task in common, there is nothing to compare")
    for task, split in shared:
        hashes = first.eval_sets[task, split], second.eval_sets[task, split]
        if hashes[0] != hashes[1]:
            raise ValueError(
                f"task {task!r}, split {split!r}: {names[0]} and {names[1]} were scored on unlike evaluation "
                f"sets ({hashes[0][:12]} and {hashes[1][:12]}); report them apart"
            )
    units = [sorted({run.acc_norm_unit for run in study.runs}) for study in (first, second)]
    if units[0] != units[1]:
        raise ValueError(
            f"acc_norm divides by {', '.join(units[0])} in {names[0]} and by {', '.join(units[1])} in "
            f"{names[1]}; report them apart"
        )


def describe_differences(findings: tuple[Findings, Findings], names: tuple[str, str]) -> list[str]:
    """Sentences on what differs between studies of the same rows: prompts and bases' weights."""
    first, second = findings[0].study, findings[1].study
    notes = []
    if first.prompt_sets != second.prompt_sets:
        sets = [", ".join(study.prompt_sets) for study in (first, second)]
        notes.append(f"Prompts differ: {sets[0]} in {names[0]}, {sets[1]} in {names[1]}.")
    for base in sorted(set(first.revisions) & set(second.revisions)):
        if first.revisions[base] != second.revisions[base]:
            notes.append(f"The revision of {base} differs: the studies have other weights.")
        precisions = [_precision(each, base) for each in findings]
        if precisions[0] != precisions[1]:
            values = [f"{value} in {name}" for value, name in zip(precisions, names, strict=True)]
            notes.append(f"The precision of {base} differs: {', '.join(values)}.")
    return notes


def _precision(findings: Findings, base: str) -> str:
    """The precision of a base's weights in the study, which names what is not the default."""
    named = findings.info.facts.get("precision", {})
    return named.get(base, "default") if isinstance(named, dict) else "default"
