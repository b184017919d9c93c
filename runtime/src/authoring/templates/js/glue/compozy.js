// What a tool needs of compozy. Part of the generated project; do not edit.
import hostConfig from "compozy:host/config@0.1.0";
import hostRun from "compozy:host/run@0.1.0";

/** An error of the plugin's own: `throw new PluginError("no_name", "name must not be empty")`. */
export class PluginError extends Error {
  /**
   * @param {string} code A short stable word.
   * @param {string} message One sentence for people.
   * @param {{retryable?: boolean, retryAfterMs?: number}} options A retryable error lets the step be tried again.
   */
  constructor(code, message, { retryable = false, retryAfterMs = null } = {}) {
    super(message);
    this.name = "PluginError";
    this.code = code;
    this.retryable = retryable || retryAfterMs !== null;
    this.retryAfterMs = retryAfterMs;
  }
}

/** The `config:` of the project's entry, an object. */
export function config() {
  return JSON.parse(hostConfig.get());
}

/** The value of an environment variable, or null; needs `permissions.env`. */
export function env(name) {
  return hostConfig.env(name);
}

/** The run and step that call: `{execId, workflowId, stepPath, attempt, idempotencyKey, deadlineUnixMs}`; null outside one. */
export function run() {
  return hostRun.current();
}
