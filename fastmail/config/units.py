"""Numbers, sizes and times as nginx writes them. All raise ValueError."""

MAXIMUM = 2**63 - 1

_DAY = 24 * 60 * 60
# In the order in which units must follow each other; the scale is in seconds.
_TIME_UNITS = {"y": 365 * _DAY, "M": 30 * _DAY, "w": 7 * _DAY, "d": _DAY, "h": 60 * 60, "m": 60, "s": 1}
_ORDER = [*_TIME_UNITS, "ms", " "]


def number(text: str) -> int:
    """Decimal digits only; fits 63 bits."""
    if not (text.isascii() and text.isdigit()) or len(text.lstrip("0")) > 19:
        raise ValueError("not a number")
    return _bounded(int(text.lstrip("0") or "0"))


def size(text: str) -> int:
    """Bytes; ``k`` and ``m`` (either case) multiply by 1024 and 1024²."""
    return _scaled(text, {"k": 1 << 10, "m": 1 << 20})


def offset(text: str) -> int:
    """As size(), with ``g`` too."""
    return _scaled(text, {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30})


def milliseconds(text: str) -> int:
    """``1h30m``, ``"1m 500ms"``, ``30`` (seconds); no ``y`` and no ``M``."""
    return _time(text, seconds=False)


def seconds(text: str) -> int:
    """``1y2M``, ``5m``, ``30``; no ``ms``."""
    return _time(text, seconds=True)


def _bounded(value: int) -> int:
    if value > MAXIMUM:
        raise ValueError("too large")
    return value


def _scaled(text: str, units: dict[str, int]) -> int:
    scale = units.get(text[-1:].lower())
    return _bounded(number(text[:-1]) * scale) if scale else number(text)


def _time(text: str, *, seconds: bool) -> int:
    """Units must come in strictly falling order; spaces may follow a unit; a unit may stand alone once
    there has been any digit (``1hm`` is one hour: nginx)."""
    unit_scale = 1 if seconds else 1000
    # nginx lets the last step be taken by a space: "30 " is 30 seconds, "5 s" is an error.
    step = -1 if seconds else _ORDER.index("M")
    total = position = 0
    digits = ""
    seen = False
    while position < len(text):
        char = text[position]
        position += 1
        if "0" <= char <= "9":
            digits += char
            seen = True
            continue
        unit = char
        if unit == "m" and text[position : position + 1] == "s":
            unit = "ms"
            position += 1
        step = _next_step(step, unit, seconds)
        scale = 1 if unit == "ms" else _TIME_UNITS.get(unit, 1) * unit_scale
        total = _bounded(total + number(digits or "0") * scale)
        digits = ""
        while text[position : position + 1] == " ":
            position += 1
    if not seen:
        raise ValueError("no number")
    return _bounded(total + number(digits or "0") * unit_scale)


def _next_step(step: int, unit: str, seconds: bool) -> int:
    if unit not in _ORDER or (unit == "ms" and seconds):
        raise ValueError(f"no unit {unit}")
    following = _ORDER.index(unit)
    limit = _ORDER.index("s") if unit == " " else following
    if step >= limit:
        raise ValueError("units out of order")
    return following
