"""What an LLM provider is asked and answers. Part of the generated project; do not edit."""

from dataclasses import dataclass, field

from wit_world.exports import compozy_plugin_llm_provider_0_1_0 as _wit

Request = _wit.Request
Message = _wit.Message
Role = _wit.Role
ToolDefinition = _wit.ToolDefinition
ToolCall = _wit.ToolCall
Parameters = _wit.Parameters
Finish = _wit.Finish


@dataclass
class Usage:
    """Tokens, as the provider counts them; 0 where it does not say."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


@dataclass
class Response:
    """A whole answer."""

    text: str
    model: str
    finish: Finish = Finish.STOP
    usage: Usage = field(default_factory=Usage)
    tool_calls: list[ToolCall] = field(default_factory=list)


def to_wit(response: Response) -> _wit.Response:
    """As the host wants it."""
    usage = _wit.Usage(response.usage.prompt_tokens, response.usage.completion_tokens, response.usage.cached_tokens)
    return _wit.Response(response.text, response.tool_calls, response.finish, usage, response.model)
