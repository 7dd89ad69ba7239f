"""Task files and rows of made-up capitals."""

import json
from pathlib import Path

YAML = """
task: capitals
data: rows
splits: {train: train, test: held_out}
prompt: "Question: what is the capital of {land.name}?\\nAnswer:"
choices: ["{a}", "{b}"]
gold: answer
cluster: [land.name]
licence: MIT
"""


def write_jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def capitals(start: int, count: int) -> list[dict[str, object]]:
    return [
        {"land": {"name": f"Land {n}"}, "a": f"City {n}", "b": f"Town {n}", "answer": f"Town {n}"}
        for n in range(start, start + count)
    ]


def write_capitals(folder: Path, yaml: str = YAML) -> str:
    write_jsonl(folder / "rows" / "train.jsonl", capitals(0, 40))
    write_jsonl(folder / "rows" / "held_out.jsonl", capitals(100, 10))
    (folder / "capitals.yaml").write_text(yaml)
    return str(folder / "capitals.yaml")
