"""The command line: `stationwatch COMMAND`."""
