"""Train a model from a history file and register it: `python -m models.train --readings FILE`."""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from pathlib import Path

from core.errors import StationwatchError
from core.process import UNUSABLE, Command, run_command
from core.settings import Settings, load_settings
from models.registry.registry import CHALLENGER, CHAMPION, Registry, Version
from models.scoring.station_prior import Prior


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a training."""
    parser.add_argument("--readings", type=Path, required=True, help="history, .csv or .parquet")
    parser.add_argument("--sensors", help="catalogue: JSON, or the path of a file that holds it; default: the setting")
    parser.add_argument("--seed", type=int, default=7, help="of everything that is drawn")
    parser.add_argument("--alias", choices=(CHAMPION, CHALLENGER, "none"), default=CHAMPION, help="what to point at it")
    parser.add_argument("--if-no-champion", action="store_true", help="do nothing when there is a champion")
    parser.add_argument(
        "--reference-stretches",
        action="store_true",
        help="stretches too short to learn from (below 101 readings of a station, between silences of all) are in the "
        "history for the drift reference alone",
    )
    parser.add_argument("--prior", type=Path, help="the stream's prior (JSON) instead of a fresh one")


def train(options: argparse.Namespace) -> int:
    """Register a version, unless there is a champion and none other was asked for."""
    settings = load_settings(**({"sensors": options.sensors} if options.sensors else {}))
    try:
        return _run(options, settings)
    except OSError as error:
        raise StationwatchError(str(error)) from error


def _run(options: argparse.Namespace, settings: Settings) -> int:
    start = time.perf_counter()
    registry = Registry(settings.tracking_uri, settings.model_name, settings.mlflow_login())
    opened = time.perf_counter() - start
    champion = registry.champion() if options.if_no_champion else None
    if champion is not None:
        print(f"{settings.model_name} version {champion.number} is champion already")
        return 0
    return _train(options, settings, registry, opened)


def _train(options: argparse.Namespace, settings: Settings, registry: Registry, opened: float) -> int:
    # Imported here: --if-no-champion, which every start runs, need not wait for them.
    from models.evaluation.recorded_history import read_history
    from models.kernels.columns import LEVEL
    from models.training.train_steps import fit, register

    prior = None if options.prior is None else Prior.from_bytes(options.prior.read_bytes())
    start = time.perf_counter()
    history, impossible = read_history(options.readings, settings.sensors)
    print(f"{len(history)} readings of {len(set(history.station_ids))} stations ({impossible} impossible left out)")
    read = time.perf_counter() - start
    training = fit(
        history,
        settings.sensors,
        trees=settings.forest_trees,
        budget=settings.false_alarm_budget,
        seed=options.seed,
        prior=prior,
        reference_stretches=options.reference_stretches,
    )
    begun = time.perf_counter()
    alias = None if options.alias == "none" else options.alias
    version = register(registry, training, alias=alias, tags={"readings_file": options.readings.name})
    phases = {"open registry": opened, "read": read, **training.seconds, "register": time.perf_counter() - begun}
    print("seconds: " + ", ".join(f"{phase} {taken:.1f}" for phase, taken in phases.items()))
    spec = training.spec
    typical, limit = spec.forest_typical, spec.forest_threshold
    print(f"forest: {settings.forest_trees} trees; score {typical:.3f} typical, {limit:.3f} limit")
    for place, sensor in enumerate(training.prior.sensors):
        spread, limit = training.prior.spread[place, LEVEL], training.prior.run_limit[place]
        print(f"{sensor}: spread {spread:.3g} around its level; stuck after {limit:g} equal readings")
    print(_registered(settings.model_name, version, alias))
    return 0


def _registered(name: str, version: Version, alias: str | None) -> str:
    return f"{name} version {version.number}{f' is {alias}' if alias else ''} (sha256 {version.sha256[:12]})"


COMMAND = Command("train", "train a model from a history and register it", train, add_arguments, __doc__, UNUSABLE)
main = partial(run_command, COMMAND, "python -m models.train", __doc__)


if __name__ == "__main__":
    sys.exit(main())
