//! OTLP over gRPC, HTTP protobuf and HTTP JSON.
