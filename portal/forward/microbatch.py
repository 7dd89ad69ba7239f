"""`SlotRows` and `MicroBatch`: the rows that go through a base together, and whose adapters they use."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from portal.data.token_rows import TokenRow
from portal.forward.shared_prefix import packed_length


@dataclass(frozen=True)
class SlotRows:
    """The rows of one adapter slot in one step, or a part of them.

    A slot's loss is a sum over its parts: `whole` holds all its rows where `rows` are not all of them.
    """

    owner: int  # which learner of the pack
    slot: int  # which of its adapters
    rows: tuple[TokenRow, ...]
    choice_weight: float = 0.0  # of the choice loss
    whole: tuple[TokenRow, ...] | None = None

    def part(self, rows: Sequence[TokenRow]) -> "SlotRows":
        """Some of the rows, as a part of the slot."""
        whole = self.whole or self.rows
        if len(rows) == len(whole):
            return replace(self, rows=whole, whole=None)
        return replace(self, rows=tuple(rows), whole=whole)

    @property
    def length(self) -> int:
        return max(self.row_length(row) for row in self.rows)

    @property
    def num_tokens(self) -> int:
        return sum(self.row_length(row) for row in self.rows)

    @property
    def num_gold_tokens(self) -> int:
        """Tokens of the gold answers of the whole slot."""
        return sum(len(row.choices[row.gold]) - row.unscored[row.gold] for row in self.whole or self.rows)

    @property
    def num_rows(self) -> int:
        """Rows of the whole slot."""
        return len(self.whole or self.rows)

    def row_length(self, row: TokenRow) -> int:
        """Tokens of `row` in a forward."""
        return packed_length(row) if self.choice_weight else len(row.prompt) + len(row.choices[row.gold])


@dataclass(frozen=True)
class MicroBatch:
    """Rows that go through a base together, every one padded to `length` tokens."""

    length: int
    slots: tuple[SlotRows, ...]

    @property
    def num_present(self) -> int:
        """Rows of all slots that are here."""
        return sum(len(slot.rows) for slot in self.slots)

    @property
    def padded_tokens(self) -> int:
        return self.num_present * self.length
