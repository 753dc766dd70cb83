"""How fast the stream is, on real servers: throughput, latency, stations, partitions, start-up; see `__main__`."""
