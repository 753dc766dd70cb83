"""The only door to Cassandra: one file per family of tables, all times in ms since the epoch."""
