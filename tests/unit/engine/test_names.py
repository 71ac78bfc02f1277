"""Names: which items of which jobs, in a line of bounded length."""

from headrace.engine.names import name_items
from headrace.engine.work import Terms, WorkItem


def _items(*job_ids: str) -> dict[int, WorkItem]:
    terms = {each: Terms(model="m", params={}, job_id=each) for each in job_ids}
    return {number: WorkItem(number, None, terms[each], number) for number, each in enumerate(job_ids)}


def test_an_item_is_named_by_its_place_in_its_job_and_several_by_their_number() -> None:
    assert name_items([0, 1, 2], _items("a", "b", "b")) == "item 0 of job 'a', 2 items of job 'b'"


def test_what_has_its_outcome_is_left_out() -> None:
    assert name_items([0, 9], _items("a", "b")) == "item 0 of job 'a'"
    assert name_items([9], {}) == ""


def test_a_thousand_jobs_and_a_long_id_fit_into_a_line() -> None:
    told = name_items(range(1000), _items(*(str(each) for each in range(1000))))
    assert told.endswith("item 7 of job '7', and 992 more jobs")
    assert len(name_items([0], _items("x" * 10_000))) < 100


def test_an_id_cannot_begin_a_line_of_its_own() -> None:
    assert "\n" not in name_items([0], _items("a\nERROR"))
