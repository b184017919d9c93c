export default async () => {
  try {
    await fetch('https://api.example.com/');
  } catch (error) {
    return { code: error.code, message: error.message, retryable: error.retryable };
  }
};
