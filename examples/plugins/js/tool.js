// What a text is called in a URL.
import { PluginError } from "./glue/compozy.js";

export const summary = "Makes slugs";

const slugOnly = { type: "object", required: ["slug"], properties: { slug: { type: "string" } } };

export const tools = {
  slugify: {
    description: "The slug of a text, and how many words it has",
    input: { type: "object", required: ["text"], properties: { text: { type: "string" } } },
    output: {
      type: "object",
      required: ["slug", "words"],
      properties: { slug: { type: "string" }, words: { type: "integer" } },
    },
    readOnly: true,
    idempotent: true,
    run({ text }) {
      const words = text.toLowerCase().split(/[^a-z0-9\u{80}-\u{10ffff}]+/u).filter(Boolean);
      if (words.length === 0) throw new PluginError("empty", "the text has no words");
      return { slug: words.join("-"), words: words.length };
    },
  },

  unique: {
    description: "The slug, with a number behind it if it is taken",
    input: {
      type: "object",
      required: ["slug", "taken"],
      properties: { slug: { type: "string" }, taken: { type: "array", items: { type: "string" } } },
    },
    output: slugOnly,
    readOnly: true,
    idempotent: true,
    run({ slug, taken }) {
      const known = new Set(taken);
      let free = slug;
      for (let number = 2; known.has(free); number++) free = `${slug}-${number}`;
      return { slug: free };
    },
  },
};
