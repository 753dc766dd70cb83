"""PROCESS: the plant's levels, sampled from Kafka, so that somebody watches while the stream does not run."""
