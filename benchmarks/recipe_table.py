"""`python -m benchmarks.recipe_table`: what a recipe reaches by number of tasks, bases and rate.

It runs the studies `recipe-11` to `recipe-140`, or some of them, each in a folder of its own, and prints one
table of what they end with. Started again it continues.
"""

import argparse
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from rich.console import Console

from portal.results import RESULTS, read_table
from sweeps.launch.driver import run_study
from sweeps.launch.executors import ExecutorName
from sweeps.results.snapshot import collect_snapshot
from sweeps.study.expand import Study, load_study

STUDIES = ("recipe-11", "recipe-35", "recipe-70", "recipe-140")
FOLDER = Path(__file__).parents[1] / "docs" / "results" / "recipe"
"""Where their files lie."""
RATES = ("third", "recipe", "triple")
PLATEAU = 0.1
"""A run that ends less than this above chance has learnt nothing."""
TOLERANCE = 0.03
"""How far accuracy may move over the rates."""


@dataclass(frozen=True)
class Line:
    """What joint training of some tasks reaches on a base, by rate and seed."""

    num_tasks: int
    base: str
    trained_on: tuple[str, ...]
    chance: float
    accuracy: Mapping[str, Mapping[int, float]]  # by rate, then by seed: the mean over tasks

    def means(self) -> dict[str, float]:
        """By rate, over seeds."""
        return {rate: mean(seeds.values()) for rate, seeds in self.accuracy.items()}

    def range_over_rates(self) -> float:
        """The largest mean less the smallest."""
        means = self.means().values()
        return max(means) - min(means)

    def lowest(self) -> float:
        """Of all rates and seeds."""
        return min(value for seeds in self.accuracy.values() for value in seeds.values())


def gather_lines(rows: Iterable[Mapping[str, Any]]) -> list[Line]:
    """A line per base and set of bases trained on, from the test rows of the last epoch of one study."""
    rows = [row for row in rows if row["split"] == "test"]
    last: dict[str, int] = defaultdict(int)
    for row in rows:
        last[row["run"]] = max(last[row["run"]], row["epoch"])
    places: dict[tuple[tuple[str, ...], str], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["epoch"] == last[row["run"]]:
            bases = row["sources"] if row["method"] == "source" else [row["base"]]
            places[tuple(bases), row["base"]].append(row)
    return [_line(bases, base, own) for (bases, base), own in sorted(places.items(), key=_few_bases_first)]


def _few_bases_first(place: tuple[tuple[tuple[str, ...], str], Any]) -> tuple[int, str]:
    (bases, base), _ = place
    return len(bases), base


def _line(bases: tuple[str, ...], base: str, rows: Sequence[Mapping[str, Any]]) -> Line:
    scores: dict[str, dict[int, list[float]]] = {rate: defaultdict(list) for rate in RATES}
    for row in rows:
        rate = row["label"].rpartition("-")[2]
        scores[rate][row["seed"]].append(row["acc_norm"])
    return Line(
        num_tasks=len({row["task"] for row in rows}),
        base=base,
        trained_on=bases,
        chance=mean(row["chance"] for row in rows),
        accuracy={
            rate: {seed: mean(values) for seed, values in sorted(seeds.items())}
            for rate, seeds in scores.items()
            if seeds
        },
    )


def render(lines: Sequence[Line]) -> str:
    """Markdown: means over seeds by rate, the lowest run, the range over rates; then what does not hold."""
    parts = [
        "| tasks | trained on | scored on | chance | rate / 3 | rate | rate x 3 | range | lowest run |",
        "|--:|:--|:--|--:|--:|--:|--:|--:|--:|",
    ]
    for line in lines:
        means = line.means()
        values = [f"{means[rate]:.3f}" if rate in means else "-" for rate in RATES]
        cells = [str(line.num_tasks), ", ".join(line.trained_on), line.base, f"{line.chance:.3f}", *values]
        parts.append(f"| {' | '.join([*cells, f'{line.range_over_rates():.3f}', f'{line.lowest():.3f}'])} |")
    seeds = {len(by_seed) for line in lines for by_seed in line.accuracy.values()}
    parts += [
        "",
        f"Accuracy on test rows after the last step, means over {_counts(seeds)} seeds and all tasks.",
        "",
    ]
    return "\n".join([*parts, *_verdicts(lines)]) + "\n"


def _counts(numbers: Collection[int]) -> str:
    return " or ".join(map(str, sorted(numbers)))


def _verdicts(lines: Sequence[Line]) -> list[str]:
    """A sentence for every promise of the recipe, whether it holds or not."""
    flat = [line for line in lines if line.lowest() < line.chance + PLATEAU]
    wide = [line for line in lines if line.range_over_rates() > TOLERANCE]
    return [
        f"- Runs that end less than {100 * PLATEAU:.0f} points above chance: {_named(flat)}.",
        f"- Accuracy moves by more than {100 * TOLERANCE:.0f} points over the rates: {_named(wide)}.",
    ]


def _named(lines: Sequence[Line]) -> str:
    names = (
        f"{line.num_tasks} tasks on {' + '.join(line.trained_on)}, scored on {line.base}" for line in lines
    )
    return "; ".join(names) or "none"


def finish(study: Study, out: Path, console: Console, executor: ExecutorName = "auto") -> list[Line]:
    """Train what is missing of the study in `out`; RuntimeError when a run failed."""
    result = run_study(study, out, executor=executor, console=console)
    if not result.is_done:
        raise RuntimeError(f"{study.name}: {result.summary}")
    table = collect_snapshot(study.manifest, out) / "results.parquet"
    return gather_lines(read_table(table, RESULTS).to_pylist())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recipe_table", description=__doc__)
    parser.add_argument("studies", nargs="*", metavar="STUDY", help=f"of {', '.join(STUDIES)}; default: all")
    parser.add_argument(
        "--out", type=Path, default=Path("portal-recipe"), help="folder of the studies and the table"
    )
    parser.add_argument("--seed", type=int, action="append", help="only the runs of this seed; several times")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.studies if name not in STUDIES]
    if unknown:
        parser.error(f"no study of the table: {unknown[0]!r}; known: {', '.join(STUDIES)}")
    console, lines = Console(), []
    for name in arguments.studies or STUDIES:
        study = load_study(FOLDER / f"{name}.yaml")
        chosen = study.part(arguments.seed) if arguments.seed else study
        lines += finish(chosen, arguments.out / study.name, console)
    table = render(lines)
    (arguments.out / "table.md").write_text(table)
    print(f"\n{table}\n{arguments.out / 'table.md'}")


if __name__ == "__main__":
    main()
