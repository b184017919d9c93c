// call: {"function": "third"}
export default { first: () => 1 };
