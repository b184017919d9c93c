"""Greets people and averages numbers"""

from typing import TypedDict

from compozy import Error, tool


class Greeting(TypedDict):
    greeting: str


class Average(TypedDict):
    count: int
    average: float


@tool(read_only=True, idempotent=True)
def greet(name: str) -> Greeting:
    """Greets someone by name"""
    name = name.strip()
    if not name:
        raise Error("no_name", "name must not be empty")
    return {"greeting": f"Hello, {name}!"}


@tool(read_only=True, idempotent=True)
def average(numbers: list[float]) -> Average:
    """The average of some numbers"""
    if not numbers:
        raise Error("no_numbers", "numbers must hold at least one number")
    return {"count": len(numbers), "average": sum(numbers) / len(numbers)}
