//! colibri-spawnd

fn main() {}
