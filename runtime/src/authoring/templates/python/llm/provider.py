"""An LLM provider: `chat` asks and answers whole, `stream` hands on what arrives, `models` names what there is."""

from collections.abc import Iterator

from compozy import Error
from compozy.llm import Finish, Request, Response, Role, Usage


def chat(request: Request) -> Response:
    questions = [message.content for message in request.messages if message.role == Role.USER]
    if not questions:
        raise Error("no_question", "the conversation holds no message of a user")
    text = f"You said: {questions[-1]}"
    usage = Usage(prompt_tokens=len(questions[-1].split()), completion_tokens=len(text.split()))
    return Response(text, model=request.model, finish=Finish.STOP, usage=usage)


def stream(request: Request) -> Iterator[str | Response]:
    """Yields pieces of text and, at the end, the whole answer."""
    response = chat(request)
    for word in response.text.split(" "):
        yield word if response.text.startswith(word) else f" {word}"
    yield response


def models() -> list[str]:
    return ["echo"]
