//! Tells the linker that Node's symbols come later.

fn main() {
    napi_build::setup();
}
