export default () => ({ now: Math.abs(Date.now() - new Date().getTime()) < 1000 && Date.now() > 1.7e12, zone: new Date(0).getTimezoneOffset() });
