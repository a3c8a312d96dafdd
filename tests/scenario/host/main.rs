//! Who is in charge of the host: the watchdog is obeyed, whatever it does, and hostd is shown.

mod dies;
mod held;
mod hostd;
mod lies;
mod quiet;
mod shown;
mod stage;
mod throttled;
mod unreachable;
