const name = 'lodash';
export default async () => (await import(name)).default;
