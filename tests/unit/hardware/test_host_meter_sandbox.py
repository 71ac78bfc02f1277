"""HostMeter where /proc tells or allows less than Linux's own, as in some sandboxes."""

from pathlib import Path

import pytest

from headrace.hardware import host_meter
from headrace.hardware.profile import DeviceProfile
from headrace.sdk.device import Device


@pytest.mark.parametrize(("status", "resets"), [("VmHWM: 8 kB\n", False), ("VmRSS: 8 kB\n", True)])
def test_a_peak_that_is_not_reset_or_not_told_is_unknown(
    status: str, *, resets: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "statm").write_text("1 2 3")
    (tmp_path / "status").write_text(status)
    if not resets:
        (tmp_path / "clear_refs").mkdir()
    monkeypatch.setattr(host_meter, "_PROCESS", tmp_path)
    meter = host_meter.HostMeter(lambda: DeviceProfile(device=Device("cpu")), 0.9)
    meter.begin(exactly=False)
    assert meter.end() is None
