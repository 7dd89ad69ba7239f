"""The record of a search with known scores and shares."""

from portal.search_record import Importance, SearchRecord, SearchTrial


def search_record(
    lr: Importance = Importance(0.7, 0.5, 0.9), rank: Importance = Importance(0.2, 0.1, 0.3)
) -> SearchRecord:
    """Twelve complete trials, of which the later ones were better, and one that was pruned."""
    trials = [
        SearchTrial(
            number=number,
            state="complete",
            value=0.3 + 0.05 * number,
            epoch=1,
            settings={
                "lora.train.lr": 1e-4 * 1.5464**number,
                "lora.adapter.rank": 1 + number % 5,
                "lora.train.schedule": ("constant", "linear")[number % 2],
            },
        )
        for number in range(12)
    ]
    pruned = SearchTrial(number=12, state="pruned", value=None, epoch=1, settings=trials[0].settings)
    return SearchRecord(
        name="tune",
        method="lora",
        metric="score",
        direction="maximize",
        trials=(*reversed(trials), pruned),
        logarithmic=("lora.train.lr",),
        importance={
            "lora.train.schedule": Importance(0.1, 0.0, 0.2),
            "lora.adapter.rank": rank,
            "lora.train.lr": lr,
        },
    )
