"""`score_tasks`: metrics of whole tasks on a base as it is now, of choices and of written answers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from portal.answers import AnswerConfig
from portal.bases.base import Base
from portal.data.token_rows import TokenRow
from portal.evaluate.loglikelihood import Scored, TaskMetrics, score_rows, summarise
from portal.evaluate.written import ToWrite, write_answers


def score_tasks(
    base: Base, rows: Mapping[str, Sequence[TokenRow]], answers: Mapping[str, AnswerConfig]
) -> dict[str, TaskMetrics]:
    """Metrics by task, with the adapters that are active; `answers` are of the tasks that are written.

    Raises what `score_rows` and `write_answers` do.
    """
    parts = {task: ToWrite(own, None, answers[task]) for task, own in rows.items() if task in answers}
    judged = dict(zip(parts, write_answers(base, list(parts.values()), {}, 1.0), strict=True))
    found = {}
    for task, own in rows.items():
        scored: list[Scored] = score_rows(base, own)
        if task in judged:
            pairs = zip(scored, judged[task], strict=True)
            scored = [replace(item, judged=each) for item, each in pairs]
        found[task] = summarise(scored, answers[task].metric if task in answers else None)
    return found
