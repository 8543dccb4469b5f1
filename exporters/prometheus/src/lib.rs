//! A Prometheus endpoint with the current value of every series.
