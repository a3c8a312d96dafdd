//! colibri-ctl

fn main() {}
