// call: {"input": {"name": "Ada"}, "config": {"greeting": "Hello"}}
export default (input, config) => ({ text: `${config.greeting}, ${input.name}!`, config: typeof config });
