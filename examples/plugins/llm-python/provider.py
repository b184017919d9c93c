"""Speaks the chat protocol that OpenAI began and most model servers understand: POST {base_url}/chat/completions."""

import json
from collections.abc import Iterator
from typing import Any

from compozy import Error, config, http, secrets
from compozy.llm import Finish, Message, Request, Response, Role, ToolCall, Usage

FINISH = {
    "stop": Finish.STOP,
    "length": Finish.LENGTH,
    "tool_calls": Finish.TOOL_CALLS,
    "content_filter": Finish.CONTENT_FILTER,
}


def chat(request: Request) -> Response:
    answer = ask("POST", "/chat/completions", body_of(request)).json()
    choice = answer["choices"][0]
    made = Answer(request.model)
    made.take(choice["message"], choice.get("finish_reason"), answer)
    return made.response()


def stream(request: Request) -> Iterator[str | Response]:
    body = body_of(request) | {"stream": True, "stream_options": {"include_usage": True}}
    made = Answer(request.model)
    for line in ask("POST", "/chat/completions", body).lines():
        data = line.removeprefix("data:").strip()
        if not line.startswith("data:") or data == "[DONE]":
            continue
        event = json.loads(data)
        for choice in event.get("choices", []) or [{}]:
            piece = made.take(choice.get("delta", {}), choice.get("finish_reason"), event)
            if piece:
                yield piece
    yield made.response()


def models() -> list[str]:
    return [model["id"] for model in ask("GET", "/models").json()["data"]]


class Answer:
    """An answer that arrives whole or in pieces."""

    def __init__(self, model: str):
        self.text, self.model, self.finish = "", model, Finish.STOP
        self.usage = Usage()
        self.calls: dict[int, ToolCall] = {}

    def take(self, message: dict[str, Any], finish: str | None, around: dict[str, Any]) -> str:
        """Adds a piece and returns its text."""
        piece = message.get("content") or ""
        self.text += piece
        self.model = around.get("model") or self.model
        if finish:
            self.finish = FINISH.get(finish, Finish.OTHER)
        for position, call in enumerate(message.get("tool_calls") or []):
            known = self.calls.setdefault(call.get("index", position), ToolCall("", "", ""))
            function = call.get("function", {})
            known.id = call.get("id") or known.id
            known.name = function.get("name") or known.name
            known.arguments += function.get("arguments") or ""
        if usage := around.get("usage"):
            cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
            self.usage = Usage(usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0, cached)
        return piece

    def response(self) -> Response:
        calls = [call for _, call in sorted(self.calls.items())]
        return Response(self.text, self.model, self.finish, self.usage, calls)


def body_of(request: Request) -> dict[str, Any]:
    settings = request.parameters
    body: dict[str, Any] = {"model": request.model, "messages": [message_of(message) for message in request.messages]}
    for name in ("temperature", "top_p", "max_tokens", "seed"):
        if (value := getattr(settings, name)) is not None:
            body[name] = value
    if settings.stop:
        body["stop"] = settings.stop
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": json.loads(tool.input_schema),
                },
            }
            for tool in request.tools
        ]
    if request.output_schema:
        schema = {"name": "answer", "schema": json.loads(request.output_schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body | json.loads(settings.extra or "{}")


def message_of(message: Message) -> dict[str, Any]:
    made: dict[str, Any] = {"role": message.role.name.lower(), "content": message.content}
    if message.role == Role.TOOL:
        made["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        made["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    return made


def ask(method: str, path: str, body: dict[str, Any] | None = None) -> http.Response:
    settings = config()
    headers = {"accept": "application/json, text/event-stream"}
    if secret := settings.get("secret"):
        # A placeholder: the host puts the key in its place on the way out.
        headers["authorization"] = f"Bearer {secrets.get(secret)}"
    response = http.request(method, settings["base_url"].rstrip("/") + path, headers=headers, json=body)
    if response.status < 300:
        return response
    raise refusal(response)


def refusal(response: http.Response) -> Error:
    """What a status means to compozy: CZ0504 a bad key, CZ0506 too many requests, CZ0507 a server in trouble."""
    status, text = response.status, response.text()[:300]
    if status in (401, 403):
        return Error("CZ0504", f"the provider refused the API key (HTTP {status})")
    if status in (408, 429) or status >= 500:
        seconds = response.headers.get("retry-after", "")
        wait = int(seconds) * 1000 if seconds.isdigit() else None
        code, what = ("CZ0506", "limits the rate of requests") if status == 429 else ("CZ0507", "failed")
        return Error(code, f"the provider {what} (HTTP {status}): {text}", retryable=True, retry_after_ms=wait)
    return Error("provider_error", f"the provider refused the request (HTTP {status}): {text}")
