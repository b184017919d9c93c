export default () => ({ toJSON() { throw new Error('not today'); } });
