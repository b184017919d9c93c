export { readFile as default } from 'node:fs';
