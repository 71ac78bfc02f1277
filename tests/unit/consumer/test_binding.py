"""Binding: an engine on a GPU is bound to it, or is not made."""

import logging

import pytest
from celery.platforms import EX_FAILURE
from celery.worker import state

from headrace.consumer.binding import TRIES, Binding, end_worker
from headrace.engine.process import EngineProcess
from headrace.sdk.device import Device


class Driver:
    """Tells what the test has it tell, and how often it was asked."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.ended = 0

    def uuid(self, device: Device) -> str:
        self.asked.append(device.name)
        return self.answers.pop(0)

    def end(self) -> None:
        self.ended += 1


def _binding(driver: Driver, device: str = "cuda:1") -> Binding:
    return Binding(Device.parse(device), driver.uuid, give_up=driver.end)


def _seen(engine: EngineProcess) -> str:
    return engine._environment["CUDA_VISIBLE_DEVICES"]


def test_a_gpu_of_which_the_driver_does_not_tell_gets_no_engine_until_it_does() -> None:
    driver = Driver("", "", "GPU-b2")
    binding = _binding(driver)
    for _ in range(2):
        with pytest.raises(OSError, match="does not tell of cuda:1"):
            binding.make_engine()
    assert _seen(binding.make_engine()) == "GPU-b2"
    assert driver.asked == ["cuda:1"] * 3


def test_the_driver_is_not_asked_again() -> None:
    driver = Driver("GPU-b2")
    binding = _binding(driver)
    assert [_seen(binding.make_engine()) for _ in range(3)] == ["GPU-b2"] * 3


def test_what_the_launcher_was_told_is_not_asked_again() -> None:
    driver = Driver()
    binding = Binding(Device("cuda", 1), driver.uuid, uuid="GPU-b2", give_up=driver.end)
    assert _seen(binding.make_engine()) == "GPU-b2"


def test_an_engine_on_the_cpu_sees_no_gpu() -> None:
    assert _seen(_binding(Driver(""), "cpu:0").make_engine()) == ""


def test_after_some_tries_the_worker_ends_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    driver = Driver(*[""] * (TRIES + 2))
    binding, ended = _binding(driver), []
    with caplog.at_level(logging.CRITICAL):
        for _ in range(TRIES + 2):
            with pytest.raises(OSError, match="cuda:1"):
                binding.make_engine()
            ended.append(driver.ended)
    assert ended == [0] * (TRIES - 1) + [1] * 3
    assert "the driver has not told of cuda:1 8 times: this worker ends" in caplog.text


def test_a_worker_that_ends_so_tells_it_by_its_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "should_terminate", None)
    end_worker()
    assert state.should_terminate == EX_FAILURE != 0
