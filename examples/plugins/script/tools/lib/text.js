/** `  ada  LOVELACE ` becomes `Ada Lovelace`. */
export const titled = (text) =>
  text.trim().split(/\s+/).map((word) => word[0].toUpperCase() + word.slice(1).toLowerCase()).join(' ');

/** `0 20 7946-0000` becomes `+442079460000`; nothing stays nothing. */
export const international = (phone = '', country) => {
  const digits = phone.replace(/[^\d+]/g, '');
  return digits === '' ? null : digits.replace(/^0/, `+${country}`);
};
