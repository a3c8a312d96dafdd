//! colibrid

fn main() {}
