const object = { get self() { return `${this.self}`; }, toString() { return String(this); } };
export default () => String(object) + object.self;
