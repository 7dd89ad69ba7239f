"""Greedy answers with fourteen adapters in one batch, against peft's generate with one adapter at a time."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from peft import PeftModel

from benchmarks.comparison import Comparison
from benchmarks.measure import ratio, take_turns
from portal.artifacts.peft_adapter import save_peft_adapter
from portal.bases.base import Base, load_base
from portal.bases.sites import SiteGroup, group_sites
from portal.config import AdapterConfig
from portal.data.suites import load_suite
from portal.data.token_rows import encode_examples
from portal.forward.adapter_hooks import select_slots
from portal.generation.decoder import Request, end_tokens
from portal.generation.generate import generate
from portal.hypernet import Factors

ADAPTERS, ROWS_EACH = 14, 8
ADAPTER = AdapterConfig()


def written_answers() -> list[Comparison]:
    """Prompts of as many tasks as there are adapters; ours sees them all, peft those of one adapter."""
    return [
        _compare("village-qwen3-s", "village", new_tokens=16, target=4.0),
        _compare("smollm2-135m", "words", new_tokens=16, target=2.0),
    ]


def _compare(name: str, suite_name: str, *, new_tokens: int, target: float) -> Comparison:
    base, suite = load_base(name), load_suite(suite_name)
    prompts = [
        [
            row.prompt
            for row in encode_examples(
                [(example, "test") for example in suite.examples(task, "test")[:ROWS_EACH]],
                base.tokenizer,
                max_prompt=256,
            )
        ]
        for task in suite.tasks[:ADAPTERS]
    ]
    factors = _random_factors(base)
    requests = [Request(ids, slot, new_tokens) for slot, rows in enumerate(prompts) for ids in rows]
    with tempfile.TemporaryDirectory() as folder:
        peer = _Peft(load_base(name), factors, Path(folder), prompts, new_tokens)

    def ours() -> list[tuple[int, ...]]:
        found = dict(generate(base, requests, factors, ADAPTER.scaling))
        return [found[number].tokens for number in range(len(requests))]

    equal = sum(a == b for a, b in zip(ours(), peer.write(), strict=True))
    spent = take_turns({"ours": ours, "peft": peer.write})
    return Comparison(
        f"greedy answers of at most {new_tokens} tokens, {ADAPTERS} adapters x {ROWS_EACH} rows, {name}",
        f"peft's generate, {ROWS_EACH} rows of one adapter at a time",
        target,
        ratio(spent["ours"], spent["peft"]),
        note=f"{equal} of {len(requests)} answers are equal token for token",
    )


def _random_factors(base: Base) -> Factors:
    """Factors of every adapter, so small that the base still writes what it writes."""
    generator = torch.Generator().manual_seed(0)

    def draw(group: SiteGroup, *shape: int) -> torch.Tensor:
        return 0.02 * torch.randn(ADAPTERS, len(group.layers), *shape, generator=generator)

    return {
        group: (draw(group, ADAPTER.rank, group.d_in), draw(group, group.d_out, ADAPTER.rank))
        for group in group_sites(base.sites, ADAPTER.modules)
    }


class _Peft:
    """A model with all adapters loaded, which it takes one after another; rows padded on the left."""

    def __init__(
        self,
        base: Base,
        factors: Factors,
        folder: Path,
        prompts: Sequence[Sequence[tuple[int, ...]]],
        new_tokens: int,
    ) -> None:
        self._prompts, self._new_tokens = prompts, new_tokens
        self._ends = sorted(end_tokens(base))
        for number in range(ADAPTERS):
            own = select_slots(factors, [number])
            save_peft_adapter(
                folder / str(number), base=base, adapter=ADAPTER, factors=own, task=f"task-{number}"
            )
        self._model = PeftModel.from_pretrained(base.model, str(folder / "0"), adapter_name="0")
        for number in range(1, ADAPTERS):
            self._model.load_adapter(str(folder / str(number)), adapter_name=str(number))

    def write(self) -> list[tuple[int, ...]]:
        """The answers to all rows, adapter by adapter, up to their end token."""
        found: list[tuple[int, ...]] = []
        for number, rows in enumerate(self._prompts):
            self._model.set_adapter(str(number))
            longest = max(map(len, rows))
            ids_NT = torch.tensor([[0] * (longest - len(row)) + list(row) for row in rows])
            mask_NT = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
            with torch.inference_mode():
                written_NT = self._model.generate(
                    input_ids=ids_NT,
                    attention_mask=mask_NT,
                    max_new_tokens=self._new_tokens,
                    do_sample=False,
                    eos_token_id=self._ends,
                    pad_token_id=0,
                )
            found += [self._ended(tokens) for tokens in written_NT[:, longest:].tolist()]
        return found

    def _ended(self, tokens: list[int]) -> tuple[int, ...]:
        """The tokens up to the first that ends an answer, with it; padding after it goes."""
        last = next((place for place, token in enumerate(tokens) if token in self._ends), len(tokens))
        return tuple(tokens[: last + 1])
