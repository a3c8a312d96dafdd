//! Pi, the agent: its event stream and what follows from it.
