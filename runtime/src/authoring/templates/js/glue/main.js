// From the host's calls to the functions of tool.js. Part of the generated project; do not edit.
import { begin } from "./globals.js";
import * as plugin from "../tool.js";

const schema = (value) => (value === undefined ? null : JSON.stringify(value));

const described = ([name, tool]) => ({
  name,
  description: tool.description ?? "",
  inputSchema: schema(tool.input),
  outputSchema: schema(tool.output),
  readOnly: Boolean(tool.readOnly),
  destructive: Boolean(tool.destructive),
  idempotent: Boolean(tool.idempotent),
});

/** An error as the host wants it; one that is nobody's own says where it happened. */
function failure(error) {
  const told = error?.payload ?? error;
  if (typeof told?.code === "string" && typeof told?.message === "string") {
    return {
      code: told.code,
      message: told.message,
      retryable: Boolean(told.retryable),
      retryAfterMs: told.retryAfterMs ?? null,
    };
  }
  const where = /\/([^/\s()]+\.m?js:\d+:\d+)/.exec(error?.stack ?? "");
  const message = error instanceof Error ? `${error.name}: ${error.message}` : `thrown: ${String(error)}`;
  if (error instanceof Error) console.error(error);
  const place = where ? `${message} (at ${where[1]})` : message;
  return { code: "exception", message: place, retryable: false, retryAfterMs: null };
}

function called(name, input) {
  begin();
  if (!Object.hasOwn(plugin.tools, name)) throw { code: "unknown_function", message: `the plugin has no function '${name}'` };
  const output = plugin.tools[name].run(JSON.parse(input));
  if (typeof output?.then === "function") {
    throw { code: "async_function", message: `'${name}' answers with a promise; functions of this plugin answer directly` };
  }
  return JSON.stringify(output ?? null);
}

export const tool = {
  describe() {
    const functions = Object.entries(plugin.tools).map(described);
    return { summary: plugin.summary ?? "", version: plugin.version ?? "0.1.0", stateless: false, functions };
  },
  run(name, input) {
    try {
      return called(name, input);
    } catch (error) {
      throw failure(error);
    }
  },
};
