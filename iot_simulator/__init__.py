"""Simulated stations: what a plant would send, with faults whose truth is known."""
