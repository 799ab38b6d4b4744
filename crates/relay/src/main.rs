//! The relay's process.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

// One call, so that all there is to compile is in the library, once.
fn main() -> ExitCode {
    relay::main()
}
