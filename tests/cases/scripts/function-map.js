// call: {"function": "second", "input": 3}
export default { first: () => 1, second: (input) => input * 2 };
