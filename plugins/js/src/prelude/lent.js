(host) => {
  const { parse, stringify } = JSON;
  const json = (value) => {
    const text = stringify(value);
    if (text === undefined) throw new TypeError('only values of JSON can be kept');
    return text;
  };

  const kv = Object.freeze({
    get(key) {
      const text = host.kvGet(key);
      return text === undefined ? undefined : parse(text);
    },
    set: (key, value, { ttlMs } = {}) => host.kvSet(key, json(value), ttlMs),
    compareAndSet: (key, expected, value) =>
      host.kvCompareAndSet(key, expected === undefined ? undefined : json(expected), json(value)),
    delete: (key) => host.kvDelete(key),
    keys: (prefix = '', { after, limit = 1000 } = {}) => host.kvKeys(prefix, after, limit),
  });

  const asks = (connection, transaction) => ({
    query: (statement, parameters = []) => host.sqlQuery(connection, transaction, statement, parameters),
    execute: (statement, parameters = []) => host.sqlExecute(connection, transaction, statement, parameters),
  });
  const isThenable = (value) => typeof value?.then === 'function';

  const sql = Object.freeze({
    open(label) {
      const connection = host.sqlOpen(label);
      const transaction = (work) => {
        const id = host.sqlBegin(connection);
        const keep = (value) => {
          host.sqlCommit(id);
          return value;
        };
        const undo = (error) => {
          try {
            host.sqlRollback(id);
          } catch {
            // What went wrong first is what the script should hear of.
          }
          throw error;
        };
        let value;
        try {
          value = work(Object.freeze(asks(connection, id)));
        } catch (error) {
          undo(error);
        }
        return isThenable(value) ? value.then(keep, undo) : keep(value);
      };
      return Object.freeze({ ...asks(connection, undefined), transaction });
    },
  });

  const llm = Object.freeze({
    chat(asked, settings = {}) {
      const messages = typeof asked === 'string' ? [{ role: 'user', content: asked }] : asked;
      const answer = host.chat(stringify({ ...settings, messages }));
      return settings.schema === undefined ? answer : { ...answer, value: parse(answer.text) };
    },
    embed: (texts, settings = {}) => host.embed(stringify({ ...settings, texts })),
  });

  return {
    compozy: Object.freeze({
      secrets: Object.freeze({ get: (name) => host.secret(name) }),
      env: (name) => host.env(name),
      kv,
      sql,
      llm,
      run: host.run(),
    }),
  };
}
