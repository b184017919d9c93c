// A tool plugin: every entry of `tools` is a function that YAML and agents can call.
import { PluginError } from "./glue/compozy.js";

export const summary = "Greets people and averages numbers";

export const tools = {
  greet: {
    description: "Greets someone by name",
    input: { type: "object", required: ["name"], properties: { name: { type: "string" } } },
    output: { type: "object", required: ["greeting"], properties: { greeting: { type: "string" } } },
    readOnly: true,
    idempotent: true,
    run({ name }) {
      name = name.trim();
      if (!name) throw new PluginError("no_name", "name must not be empty");
      return { greeting: `Hello, ${name}!` };
    },
  },

  average: {
    description: "The average of some numbers",
    input: {
      type: "object",
      required: ["numbers"],
      properties: { numbers: { type: "array", items: { type: "number" } } },
    },
    output: {
      type: "object",
      required: ["count", "average"],
      properties: { count: { type: "integer" }, average: { type: "number" } },
    },
    readOnly: true,
    idempotent: true,
    run({ numbers }) {
      const count = numbers.length;
      if (count === 0) throw new PluginError("no_numbers", "numbers must hold at least one number");
      return { count, average: numbers.reduce((sum, number) => sum + number, 0) / count };
    },
  },
};
