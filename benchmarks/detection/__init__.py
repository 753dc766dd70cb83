"""How good the detector is: simulated faults, labelled series, false alarms over budget.

`python -m benchmarks.detection` runs everything. From Python: `simulator.evaluate_simulator(detector, flavour, seeds)`,
`series.evaluate_nab(detector)`, `calibration.evaluate_calibration(detector)`, with any `detectors.Judge`.
"""
