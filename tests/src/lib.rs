//! What the tests of all three languages share.

pub mod compare;
pub mod corpus;
pub mod folder;
pub mod forest;
pub mod fuzz;
#[path = "../loopback/mod.rs"]
pub mod loopback;
pub mod memory;
pub mod sinks;
pub mod usage;
