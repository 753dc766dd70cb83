"""The HTTP door: health, metrics, anomalies and the page. Reads bounded partitions of Cassandra, changes nothing."""
