"""`portal try`: answers lines with a base as it is and with the adapter of a task."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from portal.cli import options
from portal.cli.artifacts import LatentsOption, find_artifact, load_with_latents
from portal.cli.output import warn
from portal.messages import counted

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from portal.artifacts.artifact import Artifact
    from portal.bases.base import Base
    from portal.generation.decoder import Answer, Request, Sampling

Ask = Callable[[str], tuple[tuple[int, ...], frozenset[int]]]
"""From a line to token ids, and tokens that end its answer beside the base's own."""
_SAMPLING = "Sampling"
_LINE_BREAK = "\\n"


def try_task(
    artifact: Annotated[str, options.artifact_argument("Artifact with the task's adapter")],
    base: options.Base,
    task: Annotated[str, typer.Option(metavar="TASK", help="Task of the artifact.")],
    latents: LatentsOption = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 64,
    stop: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="Text before which an answer ends; \\n is a line break. Repeatable; an empty one: none. "
            "Default: \\n, with --chat none.",
        ),
    ] = None,
    chat: Annotated[
        bool,
        typer.Option(
            "--chat", help="Read a line as what the user says, by the base's chat template; each on its own."
        ),
    ] = False,
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What the system says before each line; with --chat.")
    ] = None,
    temperature: Annotated[
        float,
        typer.Option(
            rich_help_panel=_SAMPLING, help="Temperature of the draws; 0 takes the likeliest token."
        ),
    ] = 0.0,
    top_p: Annotated[
        float,
        typer.Option(
            rich_help_panel=_SAMPLING, help="Draw from the likeliest tokens of this probability in all."
        ),
    ] = 1.0,
    seed: Annotated[int, typer.Option(rich_help_panel=_SAMPLING, help="Seed of the draws.")] = 0,
    device: options.Device = None,
    precision: options.Precision = "default",
    gpus_per_worker: options.GpusPerWorker = 1,
    as_json: options.Json = False,
) -> None:
    """Answer the lines of stdin, before and after: with the base as it is, and with a task's adapter.

    A line is a prompt; \\n in it is a line break. The base goes on where the line ends, as it does after the
    prompts that tasks are trained on: write a line as these are. Tasks that are trained on conversations have
    --chat.
    """
    from portal.bases.base import load_base
    from portal.data.conversation import has_template, template_note
    from portal.generation.decoder import Sampling
    from sweeps.study.context import resolve_precisions

    if system is not None and not chat:
        raise ValueError("--system is what a conversation starts with: give --chat with it")
    sampling = Sampling(temperature, top_p, seed)
    where, choice, gpus = options.chosen_place(device, precision, gpus_per_worker)
    source = load_with_latents(find_artifact(artifact, base=base), latents)
    source.task_index(task)
    weights = resolve_precisions(choice, (base,), device=where)[base]
    loaded = load_base(base, device=where, precision=weights, num_gpus=gpus)
    source.check_base(loaded)
    usual = [] if chat else [_LINE_BREAK]
    stops = tuple(_with_breaks(text) for text in (usual if stop is None else stop) if text)
    if chat and not has_template(loaded.tokenizer):
        warn(template_note(base))
    ask = partial(_in_turns, loaded.tokenizer, system) if chat else partial(_as_written, loaded.tokenizer)
    talk = _Talk(loaded, source, task, ask, max_new_tokens, stops, sampling)
    for prompt, before, after in talk.answers(_prompts()):
        typer.echo(_as_json(prompt, before, after) if as_json else _as_text(prompt, before, after))
    talk.check()


@dataclass
class _Talk:
    """Answers prompts by a base, without and with one adapter."""

    base: "Base"
    source: "Artifact"
    task: str
    ask: Ask
    max_new_tokens: int
    stop: tuple[str, ...]
    sampling: "Sampling"
    refused: list[str] = field(default_factory=list)

    def answers(self, prompts: Iterable[Sequence[str]]) -> "Iterator[tuple[str, Answer, Answer]]":
        """Each prompt with the answer of the base alone and that with the adapter; those given together in
        one batch. A prompt that cannot be read is left out.
        """
        from portal.generation.generate import generate

        factors, device = self.source.factors((self.task,)), self.base.device
        placed = {group: (a.to(device), b.to(device)) for group, (a, b) in factors.items()}
        scaling = self.source.config.adapter.scaling
        for together in prompts:
            asked = [(prompt, own) for prompt in together if (own := self._requests(prompt))]
            requests = [request for _, own in asked for request in own]
            found = dict(generate(self.base, requests, placed, scaling, sampling=self.sampling))
            for number, (prompt, _) in enumerate(asked):
                yield prompt, found[2 * number], found[2 * number + 1]

    def check(self) -> None:
        """ValueError that counts the prompts that were left out, with the reason of the first."""
        if self.refused:
            raise ValueError(f"{counted(len(self.refused), 'line')} not answered: {self.refused[0]}")

    def _requests(self, prompt: str) -> "list[Request]":
        from portal.generation.decoder import Request
        from portal.generation.generate import check_room

        try:
            ids, ends = self.ask(prompt)
            requests = [Request(ids, slot, self.max_new_tokens, self.stop, ends) for slot in (None, 0)]
            check_room(self.base, requests[0])
        except ValueError as error:
            self.refused.append(f"{_one_line(prompt)!r:.60}: {error}")
            if sys.stdin.isatty():
                warn(str(error))
            return []
        return requests


def _as_written(tokenizer: "PreTrainedTokenizerBase", prompt: str) -> tuple[tuple[int, ...], frozenset[int]]:
    """The prompt in token ids, and no token but the base's own that ends an answer."""
    from portal.data.token_rows import encode_prompt

    return encode_prompt(prompt, tokenizer), frozenset()


def _in_turns(
    tokenizer: "PreTrainedTokenizerBase", system: str | None, said: str
) -> tuple[tuple[int, ...], frozenset[int]]:
    """What the user says in token ids, with the start of the answer, and the token that ends the turn."""
    from portal.data.conversation import start_turn

    before = [] if system is None else [{"role": "system", "content": _with_breaks(system)}]
    ids, end = start_turn([*before, {"role": "user", "content": said}], tokenizer)
    return ids, frozenset({end})


def _prompts() -> Iterator[list[str]]:
    """The lines of stdin that are not blank: one by one from a terminal, else all together."""
    if sys.stdin.isatty():
        while True:
            typer.echo("> ", nl=False, err=True)
            line = sys.stdin.readline()
            if not line:
                return
            if line.strip():
                yield [_with_breaks(line.rstrip("\n"))]
    else:
        yield [_with_breaks(line) for line in sys.stdin.read().splitlines() if line.strip()]


def _with_breaks(text: str) -> str:
    return text.replace(_LINE_BREAK, "\n")


def _as_text(prompt: str, before: "Answer", after: "Answer") -> str:
    lines = [] if sys.stdin.isatty() else [f"> {_one_line(prompt)}"]
    return "\n".join([*lines, f"before: {_shown(before)}", f"after:  {_shown(after)}"])


def _shown(answer: "Answer") -> str:
    """The text in a line; dots where it is not known how it goes on."""
    text = _one_line(answer.text.strip()) or "(nothing)"
    return f"{text} ..." if answer.reason == "length" else text


def _one_line(text: str) -> str:
    return text.replace("\n", _LINE_BREAK)


def _as_json(prompt: str, before: "Answer", after: "Answer") -> str:
    record = {
        name: {"text": answer.text, "tokens": len(answer.tokens), "reason": answer.reason}
        for name, answer in (("before", before), ("after", after))
    }
    return json.dumps({"prompt": prompt, **record}, ensure_ascii=False)
