"""Device: the names that users write, and the one that torch gets."""

import pytest

from headrace.errors import ConfigError
from headrace.sdk.device import Device


@pytest.mark.parametrize(
    ("written", "device"),
    [("cpu", Device("cpu", 0)), ("cpu:3", Device("cpu", 3)), (" cuda:1 ", Device("cuda", 1)), ("cuda", Device("cuda"))],
)
def test_a_name_is_read_and_written_again(written: str, device: Device) -> None:
    assert Device.parse(written) == device
    assert Device.parse(device.name) == device


@pytest.mark.parametrize("written", ["", "gpu:0", "cuda:-1", "cpu:", "cuda:0,1", "cpu:0x1"])
def test_any_other_name_is_refused_with_those_there_are(written: str) -> None:
    with pytest.raises(ConfigError, match="use cpu, cpu:N or cuda:N"):
        Device.parse(written)


def test_an_engine_sees_one_gpu_whichever_it_is() -> None:
    assert [Device(kind, 2).torch_name for kind in ("cpu", "cuda")] == ["cpu", "cuda:0"]
