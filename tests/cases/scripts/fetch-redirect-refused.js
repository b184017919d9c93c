// call: {"permissions": {"http": ["ORIGIN"]}}
export default async () => (await fetch('ORIGIN/moved')).status;
