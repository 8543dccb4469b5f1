//! OTLP JSON lines in a rotating file.
