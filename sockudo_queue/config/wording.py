"""Formats pydantic's errors for people: place, error and example, but never a value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from annotated_types import Ge, Le
from pydantic import BaseModel, ValidationError

from sockudo_queue.config.layers import Layer
from sockudo_queue.config.models import Settings
from sockudo_queue.config.options import BY_ATTRIBUTE, Option
from sockudo_queue.core.secret import Secret


def fault_lines(error: ValidationError, layers: Sequence[Layer]) -> Iterator[tuple[str, str]]:
    """Yield the attribute and one line for each fault of merged settings."""
    for details in error.errors(include_url=False, include_input=False):
        parts = [str(part) for part in details["loc"]]
        attribute = next(
            candidate for length in range(len(parts), 0, -1) if (candidate := ".".join(parts[:length])) in BY_ATTRIBUTE
        )
        inside = details["loc"][attribute.count(".") + 1 :]
        option = BY_ATTRIBUTE[attribute]
        origin = f"{origin_of(option, layers)}{_item(inside)}"
        yield attribute, f"{origin}: {reason_of(details)}; for example {example_of(option)}"


def origin_of(option: Option, layers: Sequence[Layer]) -> str:
    """Return the place where an option is set, or where it could be set."""
    for layer in layers:
        if option.attribute in layer.origins:
            return layer.origins[option.attribute]
    return option.variables[0] if option.variables else option.key


def _item(inside: Sequence[int | str]) -> str:
    return "".join(f", item {part + 1}" if isinstance(part, int) else f", {part}" for part in inside)


def reason_of(details: Any) -> str:
    """Return why a value is invalid, without the value."""
    context: dict[str, Any] = details.get("ctx", {})
    match details["type"]:
        case "value_error":
            return str(context["error"])
        case "int_parsing" | "int_type" | "int_from_float" | "int_parsing_size":
            return "must be a whole number"
        case "float_parsing" | "float_type" | "finite_number":
            return "must be a number"
        case "greater_than_equal":
            return f"must be at least {context['ge']}"
        case "less_than_equal":
            return f"must be at most {context['le']}"
        case "literal_error":
            return f"must be {context['expected']}"
        case "tuple_type":
            return "must be a list"
        case "model_type" | "model_attributes_type":
            return "must be a table of settings"
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return "is not a setting"
        case _:
            return "cannot be used"


def example_of(option: Option) -> str:
    """Return a valid value, as written in a file or a variable."""
    return option.example or shown(default_of(option.attribute))


def default_of(attribute: str) -> Any:
    """Return an option's default."""
    return attribute_of(Settings(), attribute)


def attribute_of(settings: Settings, attribute: str) -> Any:
    """Return the value of a dotted attribute."""
    value: Any = settings
    for part in attribute.split("."):
        value = getattr(value, part)
    return value


def bounds_of(attribute: str) -> str:
    """Return the least and the greatest value of a number, as `1 to 65535`; empty text where there are none."""
    *groups, name = attribute.split(".")
    owner = attribute_of(Settings(), ".".join(groups)) if groups else Settings()
    limits = {type(limit): limit for limit in type(owner).model_fields[name].metadata}
    minimum, maximum = limits.get(Ge), limits.get(Le)
    if minimum is None:
        return ""
    return f"{minimum.ge} to {maximum.le}" if maximum is not None else f"at least {minimum.ge}"


def shown(value: Any, *, masked: bool = True) -> str:
    """Return a value as it is written in a file. Secrets are masked, except for defaults, which are public."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case tuple():
            return ",".join(shown(each, masked=masked) for each in value)
        case BaseModel():
            return ":".join(shown(each, masked=masked) for _, each in value)
        case Secret() if not masked:
            return value.revealed
    return str(value)
