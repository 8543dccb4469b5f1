//! All integration tests, in one binary.

mod it {
    mod translate_spans;
}
