"""Measuring a served model: perf_analyzer and locust over one table, with a report. Never loads TensorFlow."""
