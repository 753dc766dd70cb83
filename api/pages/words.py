"""Values, units and lengths of time as the pages show them."""

from __future__ import annotations

from core.sensors import Sensor

UNITS_SHOWN = {"Cel": "°C", "1": ""}
NOTHING = "–"


def unit_shown(unit: str) -> str:
    """A UCUM code as people write it."""
    return UNITS_SHOWN.get(unit, unit)


def label(name: str) -> str:
    """A sensor's, witness' or rule's name in plain words, with a capital."""
    text = name.replace("_", " ")
    return text[:1].upper() + text[1:]


def digits(sensor: Sensor) -> int | None:
    """Decimals that the sensor resolves, None when it does not say."""
    if not sensor.resolution:
        return None
    return len(f"{sensor.resolution:.6f}".rstrip("0").partition(".")[2])


def number(value: float | None, sensor: Sensor) -> str:
    """A value with the digits its sensor resolves; a dash where there is none."""
    if value is None:
        return NOTHING
    decimals = digits(sensor)
    return f"{value:.4g}" if decimals is None else f"{value:.{decimals}f}"


def length(milliseconds: int) -> str:
    """A length of time in its two largest units: `4 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    seconds = max(0, round(milliseconds / 1000))
    units = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
    for place, (unit, size) in enumerate(units):
        if seconds >= size and unit != "s":
            next_unit, next_size = units[place + 1]
            rest = seconds % size // next_size
            return f"{seconds // size} {unit}" + (f" {rest} {next_unit}" if rest else "")
    return f"{seconds} s"


def catalogue(sensors: tuple[Sensor, ...]) -> list[dict[str, object]]:
    """The sensors as templates and scripts want them."""
    return [
        {"name": sensor.name, "label": label(sensor.name), "unit": unit_shown(sensor.unit), "digits": digits(sensor)}
        for sensor in sensors
    ]
