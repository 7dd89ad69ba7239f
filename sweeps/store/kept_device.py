"""`KeptDevice`: the kind of device on which the runs of an output folder were computed last."""

from portal.config import DeviceKind
from portal.frozen import Frozen
from portal.storage.atomic import write_json_atomic
from portal.storage.paths import Folder
from sweeps.store.json_record import read_record

_FILE = "device.json"
_NAMES: dict[DeviceKind, str] = {"cpu": "CPUs", "cuda": "GPUs"}


class UsedDevice(Frozen):
    """A kind of device, and whether a launch of this folder that had large bases asked for it by name."""

    device: DeviceKind
    named_for_large_bases: bool = False


class KeptDevice:
    """device.json below `out`, written when lanes start.

    A run has other numbers on the other kind: precision `default` is fp32 on a CPU and bf16 on a GPU.
    """

    def __init__(self, out: Folder) -> None:
        self._path = out / _FILE

    def read(self) -> UsedDevice | None:
        """The kind that was used last; None before the first launch."""
        try:
            record = read_record(self._path)
            return None if record is None else UsedDevice.model_validate(record)
        except ValueError:  # also pydantic's; the record's own advice is to delete its folder, here the study
            raise ValueError(f"{self._path}: not a kind of device; delete it and run again") from None

    def keep(self, found: DeviceKind, *, named_for_large_bases: bool) -> None:
        """Record that runs are computed on this kind from now on; that it was named holds as long."""
        before = self.read()
        was_named = before == UsedDevice(device=found, named_for_large_bases=True)
        used = UsedDevice(device=found, named_for_large_bases=named_for_large_bases or was_named)
        if used != before:
            write_json_atomic(self._path, used.model_dump())


def check_device_kind(kept: DeviceKind | None, found: DeviceKind, out: Folder) -> None:
    """ValueError where runs in `out` were computed on another kind of device than this launch has."""
    if kept is None or kept == found:
        return
    instead = "--gpus N waits for GPUs, and --device cpu" if found == "cpu" else "--device cuda"
    raise ValueError(
        f"{out}: its runs were computed on {_NAMES[kept]}, and this launch is on {_NAMES[found]}, where "
        f"numbers differ; `portal sweep run` with {instead} goes on with {_NAMES[found]}"
    )
