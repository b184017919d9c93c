export default async () => Symbol('x');
