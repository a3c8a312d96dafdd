//! colibri-spawnd

#[allow(dead_code)]
mod monitor;
#[allow(dead_code)]
mod monitor_args;
#[allow(dead_code)]
mod steps;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|w| w == monitor_args::OPTION) {
        if let Some(args) = monitor_args::Args::parse(&words[1..]) {
            monitor::main(&args);
        }
    }
    std::process::exit(2);
}
