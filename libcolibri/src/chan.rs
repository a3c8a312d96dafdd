//! chan
