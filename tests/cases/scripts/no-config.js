// call: {"input": [1, 2]}
export default function (input, config) { return { sum: input[0] + input[1], config }; }
