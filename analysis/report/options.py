"""`ReportOptions`: what a reader may choose about a report."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ReportOptions:
    """Choices about a report.

    price      price of one device-hour, in the reader's currency: adds costs to the tables
    refresh_s  seconds after which the page loads itself anew; it then says that the study is running
    title      title of the page; by default "PorTAL: " and the names of the studies
    """

    price: float | None = None
    refresh_s: int | None = None
    title: str = ""
