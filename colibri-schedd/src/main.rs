//! colibri-schedd

fn main() {}
