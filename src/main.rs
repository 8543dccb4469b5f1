//! The program: the built-in components, and nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    muxbridge::main(muxbridge::Registry::builtin())
}
