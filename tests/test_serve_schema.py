"""Whatever the OpenAPI description allows, and much that it does not, never fails the service."""

import warnings

import pytest
from hypothesis import HealthCheck, given, settings

from foreframe.serve.app import make_app
from foreframe.serve.options import Limits, ServeOptions
from foreframe.serve.served import Served

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import schemathesis


@pytest.fixture(scope="module")
def schema(played, toy_data):
    limits = Limits(samples_max=2, frames_max=4, requests_per_second=1e6)
    runs = {"toy": Served("toy", played, toy_data, "cpu")}
    app = make_app(runs, ServeOptions("testserver", limits=limits))
    return schemathesis.openapi.from_asgi("/api/openapi.json", app)


def try_out(operation) -> set[int]:
    """The statuses of some dozens of requests."""
    seen = set()

    @given(case=operation.as_strategy())
    @settings(
        max_examples=40,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    def no_failure(case):
        # Names that exist, so that more than the door is tried.
        for name, value in (("run", "toy"), ("number", 0)):
            if name in (case.path_parameters or {}):
                case.path_parameters[name] = value
        if isinstance(case.body, dict) and "run" in case.body:
            case.body["run"] = "toy"
            if isinstance(case.body.get("sequence"), int):
                case.body.update(sequence=case.body["sequence"] % 4, upload=None, start=0)
        answer = case.call()
        seen.add(answer.status_code)
        assert answer.status_code < 500, answer.text
        if answer.status_code >= 400:
            assert answer.json()["reason"]

    no_failure()
    return seen


def test_no_request_fails_the_service(schema):
    operations = [found.ok() for found in schema.get_all_operations()]
    seen = {operation.label: try_out(operation) for operation in operations}
    assert len(seen) >= 13
    assert 200 in seen["GET /api/runs/{run}/sequences"]
    assert {201, 422} <= seen["POST /api/sessions"]
    assert 422 in seen["POST /api/predict"]
    assert 422 in seen["POST /api/uploads"]
