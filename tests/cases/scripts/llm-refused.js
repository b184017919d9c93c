import { llm } from 'compozy';
const told = (work) => {
  try {
    return work();
  } catch (error) {
    return `${error.code ?? error.name}: ${error.message}`;
  }
};
export default () => [
  told(() => llm.chat([{ role: 'robot', content: 'x' }])), told(() => llm.chat('x', { temprature: 1 })), told(() => llm.embed('x')),
  llm.chat('Hello'),
];
