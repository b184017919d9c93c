"""From the host's calls to the functions of tool.py. Part of the generated project; do not edit."""

import dataclasses
import json

import compozy
from compozy import failure, schema
from wit_world import exports
from wit_world.exports import compozy_plugin_tool_0_1_0 as wit

import tool as plugin


def text_of(value: dict | None) -> str | None:
    return None if value is None else json.dumps(value)


def described(name: str) -> wit.Function:
    function, marks = compozy.functions[name]
    takes, gives = text_of(schema.of_parameters(function)), text_of(schema.of_result(function))
    return wit.Function(name, (function.__doc__ or "").strip(), takes, gives, **marks)


def called(name: str, text: str) -> str:
    if name not in compozy.functions:
        raise compozy.Error("unknown_function", f"the plugin has no function '{name}'")
    function, _ = compozy.functions[name]
    output = function(**schema.arguments(function, json.loads(text)))
    return json.dumps(output, default=dataclasses.asdict, ensure_ascii=False, allow_nan=False)


class CompozyPluginTool010(exports.CompozyPluginTool010):
    def describe(self) -> wit.Description:
        summary = (plugin.__doc__ or "").strip().split("\n")[0]
        functions = [described(name) for name in compozy.functions]
        return wit.Description(summary, getattr(plugin, "__version__", "0.1.0"), False, functions)

    def run(self, function: str, input: str) -> str:
        try:
            return called(function, input)
        except Exception as error:
            raise failure.told(error) from None
