//! Where events end up.
