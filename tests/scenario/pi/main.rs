//! The real Pi, both dialects, under the real suite and against a scripted model: what an operator
//! sees through the public socket and colibri-ctl, and what is left afterwards, which is nothing.
//!
//! Every test has a suite of its own and runs once per version of Pi. Without an installed Pi they
//! say `SKIP:`; with `CI=true` they fail.

mod answers;
mod ends;
mod failures;
mod people;
mod stage;
mod whole;

/// Makes a module of two tests, one per version, out of each function that takes a version.
macro_rules! both {
    ($($name:ident)+) => { $(
        mod $name {
            use colibri_tests::pi::Version;

            #[test]
            fn pi_1_5_2() {
                super::$name(Version::V1_5_2);
            }

            #[test]
            fn pi_0_73_1() {
                super::$name(Version::V0_73_1);
            }
        }
    )+ };
}
pub(crate) use both;
