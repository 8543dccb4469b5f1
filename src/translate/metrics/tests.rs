//! Tests of what the recorded pages cannot show.
