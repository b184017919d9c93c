// Everything that is lent, and errors.
import hostSecrets from "compozy:host/secrets@0.1.0";
import { PluginError, config, env, run } from "./glue/compozy.js";
import * as kv from "./glue/kv.js";

const failures = {
  host: () => kv.set("", "x"),
  noticed() {
    try {
      kv.set("", "x");
    } catch (error) {
      return error.payload.code;
    }
  },
  bug: () => null.x,
  later() {
    throw new PluginError("later", "not yet", { retryAfterMs: 1500 });
  },
};

export const tools = {
  lent: {
    run(input) {
      console.log("lent", input, new Error("shown"));
      kv.set("k", input.text, 60000);
      return {
        stored: kv.get("k"),
        absent: kv.get("none"),
        config: config(),
        key: run().idempotencyKey,
        region: env("REGION"),
        hidden: hostSecrets.get("TOKEN") !== "s3cr3t",
        removed: [kv.remove("k"), kv.remove("k")],
        input,
      };
    },
  },
  fail: { run: ({ how }) => failures[how]() },
};
