// call: {"limits": {"timeout": {"secs": 5, "nanos": 0}}}
const deeper = () => {
  try {
    return deeper();
  } finally {
    deeper();
  }
};
export default () => {
  try {
    deeper();
  } catch {
    return 'caught';
  }
};
