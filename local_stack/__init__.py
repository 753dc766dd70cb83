"""The laptop's servers: real Kafka and real Cassandra from locked jars, without Docker."""
