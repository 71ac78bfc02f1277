"""plan_placement: every byte has a place, the limits hold, and no more is paged than must be."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import ModelTooLarge
from headrace.memory.paging import Rooms, plan_placement
from headrace.sdk.placement import Placement

MIB = 2**20

blocks_of_a_model = st.lists(st.integers(1, 100), min_size=1, max_size=30)
rooms_of_a_machine = st.builds(Rooms, device=st.integers(0, 3000), host=st.integers(0, 2000))
batches = st.integers(0, 50)


def _plan(blocks: list[int], rooms: Rooms, batch: int) -> Placement | None:
    try:
        return plan_placement("some", blocks, rooms=rooms, batch=batch)
    except ModelTooLarge:
        return None


def _after(blocks: list[int], kept: int) -> list[int]:
    """The blocks that follow those that are kept."""
    count = 0
    while kept > 0:
        kept -= blocks[count]
        count += 1
    assert kept == 0, "a block was split"
    return blocks[count:]


@given(blocks_of_a_model, rooms_of_a_machine, batches)
def test_it_is_refused_only_if_one_block_and_the_batch_do_not_fit(blocks: list[int], rooms: Rooms, batch: int) -> None:
    assert (_plan(blocks, rooms, batch) is None) == (max(blocks) + batch > rooms.device)


@given(blocks_of_a_model, rooms_of_a_machine, batches)
def test_every_byte_has_one_place(blocks: list[int], rooms: Rooms, batch: int) -> None:
    if place := _plan(blocks, rooms, batch):
        assert place.on_device + place.on_host + place.on_disk == sum(blocks)
        assert min(place.on_device, place.on_host, place.on_disk) >= 0


@given(blocks_of_a_model, rooms_of_a_machine, batches)
def test_it_is_paged_only_if_the_weights_and_the_batch_do_not_fit(blocks: list[int], rooms: Rooms, batch: int) -> None:
    if place := _plan(blocks, rooms, batch):
        assert place.paged == (sum(blocks) + batch > rooms.device)


@given(blocks_of_a_model, rooms_of_a_machine, batches)
def test_the_device_has_room_for_the_batch_and_the_largest_block_that_comes_and_goes(
    blocks: list[int], rooms: Rooms, batch: int
) -> None:
    if place := _plan(blocks, rooms, batch):
        others = _after(blocks, place.on_device)
        assert place.on_device + max(others, default=0) + batch <= rooms.device
        assert place.device_limit == rooms.device - batch


@given(blocks_of_a_model, rooms_of_a_machine, batches)
def test_the_host_has_room_for_the_largest_block_that_comes_from_disk(
    blocks: list[int], rooms: Rooms, batch: int
) -> None:
    if (place := _plan(blocks, rooms, batch)) and place.on_host:
        from_disk = _after(_after(blocks, place.on_device), place.on_host)
        assert place.on_host + max(from_disk, default=0) <= rooms.host


@given(blocks_of_a_model, rooms_of_a_machine, batches)
def test_one_block_more_would_not_fit_on_the_device(blocks: list[int], rooms: Rooms, batch: int) -> None:
    if (place := _plan(blocks, rooms, batch)) and place.paged:
        first, *others = _after(blocks, place.on_device)
        assert place.on_device + first + max(others, default=0) + batch > rooms.device


@given(blocks_of_a_model, rooms_of_a_machine, batches, st.integers(0, 500), st.integers(0, 500))
def test_more_room_never_moves_weights_further_away(
    blocks: list[int], rooms: Rooms, batch: int, device_more: int, host_more: int
) -> None:
    larger = Rooms(device=rooms.device + device_more, host=rooms.host + host_more)
    if place := _plan(blocks, rooms, batch):
        roomier = _plan(blocks, larger, batch)
        assert roomier
        assert roomier.on_device >= place.on_device
        assert roomier.on_disk <= place.on_disk


def test_a_cpu_pages_to_disk_alone() -> None:
    place = plan_placement("some", [4, 4, 4, 4], rooms=Rooms(device=12), batch=1, offload_folder=Path("/state/offload"))
    assert (place.on_device, place.on_host, place.on_disk) == (4, 0, 12)
    assert (place.device_limit, place.host_limit) == (11, 0)
    assert place.offload_folder == Path("/state/offload")


def test_a_gpu_pages_to_the_host_and_then_to_disk() -> None:
    place = plan_placement("some", [4] * 10, rooms=Rooms(device=13, host=13), batch=1)
    assert (place.on_device, place.on_host, place.on_disk) == (8, 8, 24)


def test_the_whole_rest_stays_on_a_host_that_has_room() -> None:
    place = plan_placement("some", [4] * 4, rooms=Rooms(device=8, host=12))
    assert (place.on_device, place.on_host, place.on_disk) == (4, 12, 0)


def test_weights_of_unknown_size_are_tried_on_the_device() -> None:
    place = plan_placement("some", [], rooms=Rooms(device=10), batch=20)
    assert not place.paged
    assert place.device_limit == 0
    assert "unknown" in place.reason


def test_the_reason_is_one_sentence_with_the_figures() -> None:
    rooms = Rooms(device=5 * MIB, host=4 * MIB)
    assert plan_placement("some", [2 * MIB] * 4, rooms=rooms, batch=MIB).reason == (
        "of 8.0 MiB of weights the device keeps 2.0 MiB, the host 2.0 MiB and the disk 4.0 MiB, "
        "since 4.0 MiB are free beside the smallest batch"
    )
    assert plan_placement("some", [MIB], rooms=rooms).reason == "the weights (1.0 MiB) fit on the device"


def test_the_refusal_says_what_is_needed_what_there_is_and_what_to_do() -> None:
    with pytest.raises(ModelTooLarge) as caught:
        plan_placement("some", [MIB, 3 * MIB, MIB], rooms=Rooms(device=4 * MIB, host=99 * MIB), batch=2 * MIB)
    assert caught.value.code == "model_too_large"
    assert str(caught.value) == (
        "model some does not fit: its largest module (3.0 MiB) and the smallest batch (2.0 MiB) must be on the device "
        "together, and 4.0 MiB are free there; use a larger device, a smaller dtype, or end what else uses it"
    )
