"""The command line of stationwatch: one word for everything that is started by hand."""
