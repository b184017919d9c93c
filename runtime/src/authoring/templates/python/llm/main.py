"""From the host's calls to the functions of provider.py. Part of the generated project; do not edit."""

from collections.abc import Iterator

from compozy import failure, llm
from wit_world import exports
from wit_world.exports import compozy_plugin_llm_provider_0_1_0 as wit

import provider


class ChatStream(exports.compozy_plugin_llm_provider_0_1_0.ChatStream):
    """What `provider.stream` yields, one piece a call."""

    def __init__(self, pieces: Iterator[str | llm.Response]):
        self.pieces = pieces

    def next(self) -> wit.Event | None:
        try:
            piece = next(self.pieces, None)
        except Exception as error:
            raise failure.told(error) from None
        if isinstance(piece, llm.Response):
            return wit.Event_Done(llm.to_wit(piece))
        return None if piece is None else wit.Event_Text(piece)


class CompozyPluginLlmProvider010(exports.CompozyPluginLlmProvider010):
    def chat(self, request: wit.Request) -> wit.Response:
        try:
            return llm.to_wit(provider.chat(request))
        except Exception as error:
            raise failure.told(error) from None

    def stream(self, request: wit.Request) -> wit.ChatStream:
        return ChatStream(iter(provider.stream(request)))

    def models(self) -> list[str]:
        try:
            return provider.models()
        except Exception as error:
            raise failure.told(error) from None
