//! What the tests of all three languages share.
