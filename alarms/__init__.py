"""The alarms process: folds a station's anomalies into episodes that people handle, and tells Alertmanager."""
