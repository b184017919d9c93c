import { international, titled } from './lib/text.js';

// The first argument is what the call gives, the second the tool's `config`.
export default async ({ name, email, phone }, { country }) => {
  const address = email.trim().toLowerCase();
  if (!/^[^@\s]+@[^@\s]+\.[^@\s]+$/.test(address)) {
    // A code of one's own becomes the code of the step's error.
    throw Object.assign(new Error(`'${email}' is no address`), { code: 'bad_email' });
  }
  return { name: titled(name), email: address, phone: international(phone, country) };
};
