"""Bodies in JSON, read at once by one parser, with what is said against them bounded."""

from typing import Any, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from foreframe.serve.refusal import Refusal, in_words

Model = TypeVar("Model", bound=BaseModel)

_MISTAKES = 100
"""Mistakes that are looked at one by one; a body of nothing else would take long."""

_QUOTES = 400
"""Quotation marks of a body at most: no body has more than some ten names and texts."""


def body_of(model: type[Model]) -> Any:
    """The dependency of a route: its body as ``model``; see ``described``."""

    async def read(request: Request) -> Model:
        if "json" not in request.headers.get("content-type", ""):
            raise Refusal(422, "the body: give JSON, and content-type: application/json.")
        try:
            content = await request.body()
        except ClientDisconnect:
            raise Refusal(400, "the body: broke off.") from None
        if content.count(b'"') > _QUOTES:
            raise Refusal(422, "the body: more names than there can be sense in.")
        try:
            return model.model_validate_json(content)
        except ValidationError as error:
            if error.error_count() > _MISTAKES:
                reason = f"the body: {error.error_count()} values make no sense."
            else:
                errors = error.errors(include_url=False, include_context=False, include_input=False)
                reason = in_words(errors, "the body")
            raise Refusal(422, reason) from None

    return Depends(read)


def described(model: type[BaseModel]) -> dict[str, Any]:
    """What the OpenAPI description says of such a body."""
    schema = model.model_json_schema()
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
