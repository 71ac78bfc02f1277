"""InferTask: what Celery runs for a job, once its outcome is there."""

from collections.abc import Mapping
from typing import Any

from celery import Celery, Task

from headrace.broker.app import INFER
from headrace.broker.codec import to_json
from headrace.broker.params import ParamsCheck
from headrace.broker.results import wants_packed
from headrace.consumer.trace import chunk_result, current_job, single_result
from headrace.errors import DeadlineExceeded, HeadraceError, InvalidInput, JobRevoked


class InferTask(Task):  # type: ignore[misc]  # Celery has no types
    """The task `infer.<model>`: answers with the outcome that the engine gave."""

    abstract = True
    #: Checks the parameters of a job, which a plain Celery producer has not done.
    params: ParamsCheck
    Strategy = "headrace.consumer.strategy:fenced"
    Request = "headrace.consumer.request:JobRequest"
    typing = False
    acks_late = True
    max_retries = 3
    default_retry_delay = 1
    #: Characters of a result that Flower shows; each costs a chunk of many rows.
    resultrepr_maxsize = 128
    #: Logged without a traceback: the sender's business, not a fault here.
    throws = (InvalidInput, DeadlineExceeded, JobRevoked)

    def run(self, *_args: Any, **_kwargs: Any) -> Any:
        """Return the job's output, or raise its error."""
        job = current_job()
        try:
            result = chunk_result(job) if job.is_chunk else single_result(job)
        except HeadraceError as error:
            if error.retryable:
                raise self.retry(exc=error) from error
            raise
        return result if wants_packed(self.request) else to_json(result)


def register_tasks(app: Celery, params_schemas: Mapping[str, Mapping[str, Any]]) -> None:
    """Give the app one task per model.

    Args:
        app: The worker's.
        params_schemas: JSON schema of the params of each model's jobs.
    """
    for model, schema in params_schemas.items():
        fields = {"name": INFER + model, "__module__": __name__, "params": ParamsCheck(model, schema)}
        app.register_task(type(f"Infer_{model}", (InferTask,), fields)())
