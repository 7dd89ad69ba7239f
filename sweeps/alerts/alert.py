"""`Alert`: something that has happened to a launch, in words."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

AlertKind = Literal["failed", "lost", "budget", "ended"]


@dataclass(frozen=True)
class Alert:
    """`text` is a line for people. Alerts of one `key` tell the same and are delivered once in a folder."""

    kind: AlertKind
    key: str
    text: str
    study: str
    out: str
    time: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def to_json(self) -> dict[str, Any]:
        """What is sent. Slack, Mattermost and Teams show `text` of a posted object."""
        return {"text": self.text, "kind": self.kind, "study": self.study, "out": self.out, "time": self.time}
