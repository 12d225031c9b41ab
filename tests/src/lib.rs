//! What the tests of all three languages share.

pub mod compare;
pub mod corpus;
#[path = "../loopback/mod.rs"]
pub mod loopback;
