export default async () => (await import('../../secret.js')).default;
