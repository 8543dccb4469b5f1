//! What the exporter promises, seen from outside.
